"""`python -m tests.fuzz LINES [SEED]`: ordinary lines, mutated byte by byte and field by field, through replay and the
recount; every field of every entry is compared. `make fuzz` runs a million."""

import random
import sys
import time

from tests.log_lines import ordinary_lines
from tests.test_replay_against_oracle import differences

LINES_AT_ONCE = 5_000
ODD_VALUES = (
    *(b"", b"-", b"0", b"-1", b"+5", b"1e3", b"0x10", b"9" * 31, b"0.0000001", b"1.5", b" 1", b"1 ", b"NaN", b"inf"),
    *(b"1771252345", b"1771252345.9999999", b"4102444800", b"999999999", b"2000000000.5", b"101", b"999", b"000"),
    *(b"a@b.cd", b"logo@2x.png", b"x@y.co.uk", b"%61%40b.com", b"10.0.0.1", b"::1", b"%5B::ffff:1.2.3.4%5D", b"1.2.3"),
    *(
        b"/%c3%a9",
        b"/%7e%7E",
        b"/%",
        b"/%zz",
        b"/a?b=1@c.de",
        b"\xff\xfe",
        b"\xc3",
        b"\x00",
        b"\xe2\x80\xa8",
        b'"',
        b"'",
    ),
    *(b"EXAMPLE.org.:443", b"[::1]:80", b"http", b"https", b"wss", b"grpcs", b"Hit", b"text/event-stream; x", b"#"),
)


def mutated(line: bytes, rng: random.Random) -> bytes:
    fields = line.split(b"\t")
    for _ in range(rng.choice([0, 1, 1, 1, 2, 5])):
        place = rng.randrange(len(fields))
        match rng.randrange(8):
            case 0 | 1:
                fields[place] = rng.choice(ODD_VALUES)
            case 2:
                fields[place] += rng.choice(ODD_VALUES)
            case 3:
                at = rng.randrange(len(fields[place]) + 1)
                fields[place] = fields[place][:at] + rng.randbytes(rng.randint(1, 3)) + fields[place][at:]
            case 4:
                at = rng.randrange(len(fields[place]) + 1)
                fields[place] = fields[place][:at]
            case 5:
                fields[place] = rng.choice(fields)
            case 6:
                fields[place] = fields[place].swapcase()
            case 7 if len(fields) > 3 and rng.random() < 0.2:
                fields = fields[:place] + fields[place + rng.randrange(3) :]
            case _:
                pass
    return b"\t".join(fields) or b"-"


def main(lines: int, seed: int) -> int:
    rng, began_s, done = random.Random(seed), time.monotonic(), 0
    while done < lines:
        ordinary = ordinary_lines(seed=rng.getrandbits(32), count=LINES_AT_ONCE, duplicate_rate=0.02).splitlines()
        content = b"\n".join(mutated(line, rng) for line in ordinary) + b"\n"
        found = differences([content])
        if found:
            path = f"fuzz-{seed}-{done}.log"
            with open(path, "wb") as file:
                file.write(content)
            print(f"{path}: {len(found)} differences", *found[:10], sep="\n")
            return 1
        done += LINES_AT_ONCE
        if done % 100_000 == 0:
            print(f"{done:,} of {lines:,} lines, all equal, {time.monotonic() - began_s:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
