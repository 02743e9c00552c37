"""Writes the lines of a file into pipes, in turn: `feeder.py FILE DESCRIPTOR...`. Stands for the KCL's daemon, so it
runs on another core than what is measured, if there is one.
"""

import os
import sys


def main() -> None:
    others = set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
    if others:
        os.sched_setaffinity(0, others)
    descriptors = [int(text) for text in sys.argv[2:]]
    with open(sys.argv[1], "rb", buffering=1 << 20) as file:
        for number, line in enumerate(file):
            left = memoryview(line)
            while left:
                left = left[os.write(descriptors[number % len(descriptors)], left) :]


main()
