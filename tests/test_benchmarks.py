import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cases import GROUPS

ROOT = Path(__file__).parent.parent
KEYS = {"case", "value", "unit", "baseline", "ratio", "target", "met"}


@pytest.mark.slow
def test_every_case_is_measured_and_gives_a_line() -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--no-doc"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=290)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [line["case"] for line in lines] == [name for names in GROUPS.values() for name in names]
    for line in lines:
        assert set(line) == (KEYS if line["met"] else KEYS | {"reason"})
        assert line["value"] > 0
