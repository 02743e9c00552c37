import json
import os
import signal
import subprocess
import sys
from itertools import batched
from pathlib import Path

import pytest

from benchmarks.cases import GROUPS, kcl_idle, kcl_traffic

ROOT = Path(__file__).parent.parent
KEYS = {"case", "value", "unit", "baseline", "ratio", "target", "met"}


LIMIT_S = 240  # well below what a test may take, so that whoever waits for it hears which case hangs
END_S = 30
ALONE = [kcl_idle, kcl_traffic]  # these start most, and wait most
# A process that measures loads everything and makes its input, which takes longer than many a case.
TOGETHER = [sum(names, ()) for names in batched((names for group, names in GROUPS.items() if group not in ALONE), 6)]


@pytest.mark.slow
@pytest.mark.parametrize("names", [*TOGETHER, *map(GROUPS.get, ALONE)], ids=lambda names: names[0])
def test_every_case_is_measured_and_gives_a_line(names: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--no-doc", "--only", ",".join(names)]
    code, out, err = run_within(LIMIT_S, command)
    assert code is not None, f"not done after {LIMIT_S} s; measured until then:\n{out}\nand said:\n{err[-4000:]}"
    assert code == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["case"] for line in lines] == [*names]
    for line in lines:
        assert set(line) == (KEYS if line["met"] else KEYS | {"reason"})
        assert line["value"] > 0


def run_within(limit_s: float, command: list[str]) -> tuple[int | None, str, str]:
    """How a command ended (None: not in time), and what it said. One that is too slow is interrupted with all that it
    has started, so that it stops its daemons and emulators."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=limit_s)
        return process.returncode, out, err
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
        try:
            out, err = process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        return None, out, err
