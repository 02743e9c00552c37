"""Prometheus's own checker, and what `/metrics` answers as it takes it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ALERTS = ROOT / "consumer" / "monitoring" / "alerts.yaml"
DASHBOARD = ROOT / "consumer" / "monitoring" / "dashboard.json"


def promtool(*arguments: str | Path, given: bytes = b"") -> str:
    """What it says, `given` on its stdin. Skips where it is missing, but never in CI. Raises AssertionError if it finds
    fault."""
    path = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ["PATH"]])
    found = shutil.which("promtool", path=path)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("promtool is missing: `make setup-dev` takes it out of Debian's package prometheus")
    if found is None:
        pytest.skip("promtool is missing: `make setup-dev` says how to get it")
    done = subprocess.run([found, *map(str, arguments)], input=given, capture_output=True, timeout=60)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said
