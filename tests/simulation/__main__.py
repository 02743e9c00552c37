"""`python -m tests.simulation 1000 [first]`: so many seeds; `--seed 7 --trace`: one, with everything that happened."""

import argparse
import json
import logging
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext

from msgspec import Struct

from tests.simulation.options import SWITCHED, VARIABLE, switches

os.environ.setdefault("POLARS_MAX_THREADS", "1")

TAIL = 60


class Report(Struct, frozen=True):
    """What became of a seed. `broken` names the promise that did not hold, '' if all did; `story` is the trace, or its
    tail; `seen` counts what happened."""

    seed: int
    broken: str
    story: str
    seen: Counter[str]
    cpu_s: float

    def again(self, plant: str = "") -> str:
        return f"python -m tests.simulation --seed {self.seed} --trace" + (f" --plant {plant}" if plant else "")


def report(seed: int, plant: str = "", trace: bool = False) -> Report:
    from tests.simulation import planted, planted_clocks, planted_holes, planted_races, planted_repairs  # noqa: F401 - they register
    from tests.simulation.planting import PLANTED
    from tests.simulation.world import run_seed

    began_s = time.process_time()
    with PLANTED[plant]() if plant else nullcontext():
        world, violation = run_seed(seed, trace)
    story = list(world.story())
    text = "\n".join(story if trace else story[-TAIL:]) if violation or trace else ""
    if violation:
        text += f"\n{violation}"
    return Report(seed, violation.name if violation else "", text, world.seen, time.process_time() - began_s)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seeds", nargs="?", default="150", help="how many, or FIRST:END")
    parser.add_argument("first", nargs="?", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--plant", default="", help="a bug to plant (the files planted*.py)")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--trace", action="store_true", help="print everything that happened")
    parser.add_argument("--failures", type=int, default=20, help="stop after so many failing seeds")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an option, in all seeds")
    parser.add_argument(
        "--only", help=f"of the harsher faults only these (by comma; '' for none): {', '.join(SWITCHED)}"
    )
    parser.add_argument("--without", default="", help="without these of the harsher faults")
    options = parser.parse_args()
    logging.disable()  # what is broken on purpose here is told a thousand times
    if chosen := switches(options.set, options.only, options.without):
        os.environ[VARIABLE] = json.dumps(chosen)
    if options.seed is not None:
        result = report(options.seed, options.plant, options.trace)
        print(result.story)
        print(f"seed {result.seed}: {result.broken or 'all promises held'}, {result.cpu_s:.2f} s of CPU")
        return 1 if result.broken else 0
    first, _, last = options.seeds.partition(":")
    seeds = range(int(first), int(last)) if last else range(options.first, options.first + int(first))
    return run(seeds, options.processes, options.plant, options.failures)


def run(seeds: range, processes: int, plant: str, failures_max: int) -> int:
    """Run the seeds in processes, and print each failing one as it comes; returns the exit code."""
    broken: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    cpu_s, began_s, number = 0.0, time.monotonic(), 0
    with ProcessPoolExecutor(processes) as pool:
        for number, result in enumerate(pool.map(report, seeds, [plant] * len(seeds), chunksize=4), 1):
            cpu_s += result.cpu_s
            seen += result.seen
            if result.broken:
                broken[result.broken] += 1
                print(f"--- seed {result.seed} ({result.broken}), the last of what happened:\n{result.story[-6000:]}")
                print(f"again: {result.again(plant)}", flush=True)
                if broken.total() >= failures_max:
                    pool.shutdown(wait=False, cancel_futures=True)
                    break
            if number % 100 == 0:
                elapsed_s = time.monotonic() - began_s
                print(f"{number} seeds, {broken.total()} failed, {elapsed_s:.0f} s", file=sys.stderr)
    print("seen: " + ", ".join(f"{count} {what}" for what, count in seen.most_common()))
    verdict = dict(broken) or "all promises held"
    print(f"{number} seeds from {seeds.start}: {verdict}; {cpu_s / number:.2f} s of CPU a seed")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
