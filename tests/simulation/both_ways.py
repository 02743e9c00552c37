"""`python -m tests.simulation.both_ways 200 [first]`: what so many seeds store, read with the kernel and without it, is
the same to the byte.

A course is the same only if nothing in it depends on how records come. So whatever breaks the engine is left out, as it
does so when a record is read, which with the kernel is earlier; and packed payloads, which make segments of their own.
"""

import argparse
import json
import logging
import os
import sys
from concurrent.futures import ProcessPoolExecutor

import pytest

from sa_stream import native
from tests.simulation.options import VARIABLE

COMPARABLE = {"engine_fails": 0, "poison": 0, "gzip": 0, "mixed_forms": False}

type Stored = dict[tuple[str, str], bytes]  # everything that was ever put into the state store, and what the cache has


def stored(seed: int, with_kernel: bool) -> Stored:
    from tests.simulation.world import run_seed

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, json.dumps(COMPARABLE))
        patch.setattr(native, "AVAILABLE", with_kernel)
        world, violation = run_seed(seed)
    assert violation is None, violation
    return {("state", key): data for key, data in world.store.written.items()} | world.cache.bodies


def differing(seed: int) -> list[tuple[str, str]]:
    """Keys under which something else lies, or nothing."""
    one, other = stored(seed, True), stored(seed, False)
    assert one
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.both_ways", description=__doc__)
    parser.add_argument("seeds", type=int, help="how many")
    parser.add_argument("first", nargs="?", type=int, default=0)
    chosen = parser.parse_args()
    if not native.AVAILABLE:
        parser.error(f"there is no kernel: {native.REASON}")
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    logging.disable()
    seeds, failed = range(chosen.first, chosen.first + chosen.seeds), 0
    with ProcessPoolExecutor(2) as pool:
        for seed, keys in zip(seeds, pool.map(differing, seeds), strict=True):
            failed += bool(keys)
            if keys:
                print(f"seed {seed}: {len(keys)} keys differ, {keys[:3]}", flush=True)
    print(f"{len(seeds)} seeds from {chosen.first}: {failed} store something else without the kernel")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
