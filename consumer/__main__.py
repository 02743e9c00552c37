"""`python -m consumer` is `sa-stream run`."""

import sys

from consumer.cli import program

if __name__ == "__main__":
    program(["run", *sys.argv[1:]])
