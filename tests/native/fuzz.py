"""`python -m tests.native.fuzz MEGABYTES [SEED]`: mutated lines and messages with the kernel and without it; all that
columns say is compared. KERNEL=path tries another library, such as one with sanitizers. `make fuzz-native`."""

import os
import random
import sys
import time
from pathlib import Path

from sa_stream import native
from sa_stream.records.fields import Field_Lists, resolve_field_lists
from sa_stream.sources.kcl_messages import Packed_Records
from tests.fuzz import mutated
from tests.log_lines import ordinary_lines
from tests.native.both_ways import read
from tests.native.test_kernel import NOW_MS, judged, message, said, unpacked

LINES_AT_ONCE = 2_000
PAYLOADS = 200
SETTINGS = ("canonical", "canonical;timestamp,cs-host,sc-bytes", "timestamp,sc-status,sc-bytes,cs-uri-stem")


def bytes_changed(text: bytes, rng: random.Random) -> bytes:
    """A few bytes of a text as others, swapped, left out or doubled, wherever they are."""
    data = bytearray(text)
    for _ in range(rng.choice([1, 3, 10, 100])):
        place = rng.randrange(len(data))
        match rng.randrange(5):
            case 0:
                data[place] = rng.randrange(256)
            case 1:
                data[place] = rng.choice(b"\t\n\r\0-?#.0")
            case 2:
                del data[place : place + rng.choice([1, 1, 7, 64])]
            case 3:
                data[place:place] = data[place : place + rng.choice([1, 8, 64, 300])]
            case _:
                data[place] ^= 1 << rng.randrange(8)
        data = data or bytearray(b"\n")
    return bytes(data)


def payloads_of(rng: random.Random) -> list[bytes]:
    ordinary = ordinary_lines(seed=rng.getrandbits(32), count=LINES_AT_ONCE, duplicate_rate=0.02).splitlines()
    odd_rate = rng.choice([0.0, 0.05, 0.5, 1.0])
    lines = [mutated(line, rng) if rng.random() < odd_rate else line for line in ordinary]
    content = b"\n".join(lines)
    if rng.random() < 0.7:
        content = bytes_changed(content, rng)
    lines = content.split(b"\n")
    size = rng.choice([1, 7, 300, len(lines)])
    return [
        b"\n".join(lines[i : i + size]) + rng.choice([b"\n", b"\n", b"\r\n", b""]) for i in range(0, len(lines), size)
    ]


def lines_differ(rng: random.Random, lists: Field_Lists, payloads: list[bytes]) -> bool:
    arrivals_ms = [rng.choice([NOW_MS * 2, 1_771_200_000_000]) for _ in payloads]
    return read(payloads, lists, arrivals_ms, True) != read(payloads, lists, arrivals_ms, False)


def messages_differ(rng: random.Random, payloads: list[bytes]) -> bool:
    line = bytes_changed(message(payloads[:50]), rng)
    batch = unpacked(line)
    return batch is not None and said(Packed_Records([], packed=batch)) != judged(line)


def main(megabytes: int, seed: int) -> int:
    if path := os.environ.get("KERNEL"):
        native.LIBRARY, native.AVAILABLE = native.load(Path(path)), True
    assert native.AVAILABLE, native.REASON
    rng, began_s, done, told = random.Random(seed), time.monotonic(), 0, 0
    while done < megabytes * 1_000_000:
        state = rng.getstate()
        payloads, setting = payloads_of(rng), rng.choice(SETTINGS)
        if lines_differ(rng, resolve_field_lists(setting, ""), payloads) or messages_differ(rng, payloads):
            print(f"a difference after {done:,} bytes with {setting}; the state of the generator:", state[1][-1], seed)
            with open(f"fuzz-native-{seed}-{done}.log", "wb") as file:
                file.write(b"\x1e".join(payloads))
            return 1
        done += sum(map(len, payloads))
        if done // 10_000_000 > told:
            told = done // 10_000_000
            print(f"{done:,} bytes, all equal, {time.monotonic() - began_s:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
