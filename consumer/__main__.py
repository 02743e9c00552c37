"""`python -m consumer` is `sa-stream run`."""

import sys

from consumer.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
