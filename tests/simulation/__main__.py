"""`python -m tests.simulation 1000 [first]`: so many seeds; `--seed 7 --trace`: one, with everything that happened."""

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext

os.environ.setdefault("POLARS_MAX_THREADS", "1")

TAIL = 60


def report(seed: int, plant: str = "", trace: bool = False) -> tuple[int, str, str, float]:
    """(seed, name of the broken promise or '', what happened, seconds of CPU)."""
    from tests.simulation.planted import PLANTED
    from tests.simulation.world import run_seed

    began_s = time.process_time()
    with PLANTED[plant]() if plant else nullcontext():
        world, violation = run_seed(seed, trace)
    story = list(world.story())
    text = "\n".join(story if trace else story[-TAIL:]) if violation or trace else ""
    if violation:
        text += f"\n{violation}"
    return seed, violation.name if violation else "", text, time.process_time() - began_s


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seeds", nargs="?", default="150", help="how many, or FIRST:END")
    parser.add_argument("first", nargs="?", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--plant", default="", help="a bug to plant (tests/simulation/planted.py)")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--trace", action="store_true", help="print everything that happened")
    parser.add_argument("--failures", type=int, default=20, help="stop after so many failing seeds")
    options = parser.parse_args()
    if options.seed is not None:
        _, name, text, seconds = report(options.seed, options.plant, options.trace)
        print(text)
        print(f"seed {options.seed}: {name or 'all promises held'}, {seconds:.2f} s")
        return 1 if name else 0
    first, end = options.first, options.first
    if ":" in options.seeds:
        first, end = (int(n) for n in options.seeds.split(":"))
    else:
        end += int(options.seeds)
    found: Counter[str] = Counter()
    cpu_s, began_s = 0.0, time.monotonic()
    with ProcessPoolExecutor(options.processes) as pool:
        runs = pool.map(report, range(first, end), [options.plant] * (end - first), chunksize=4)
        for number, (seed, name, text, seconds) in enumerate(runs, 1):
            cpu_s += seconds
            if name:
                found[name] += 1
                print(f"--- seed {seed} ({name}), the last of what happened:\n{text[-6000:]}")
                print(f"again: python -m tests.simulation --seed {seed} --trace {'--plant ' + options.plant if options.plant else ''}")
                if found.total() >= options.failures:
                    pool.shutdown(wait=False, cancel_futures=True)
                    break
            if number % 100 == 0:
                print(f"{number} seeds, {found.total()} failed, {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    print(f"{number} seeds from {first}: {dict(found) or 'all promises held'}; {cpu_s / number:.2f} s of CPU a seed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
