"""A time of day that a test sets, in a process of its own: `time.time` and `time.time_ns` of the child are so many
seconds off as a file says, and may step at any moment. The clock that cannot step stays as it is."""

import os
import time
from pathlib import Path

from tests.real.processes import PROJECT

VARIABLE = "CLOCK_OFFSET_FILE"


def install() -> None:
    """Called in the child before anything else."""
    path, real_ns = Path(os.environ[VARIABLE]), time.time_ns

    def shifted_ns() -> int:
        return real_ns() + int(float(path.read_text()) * 1_000_000_000)

    time.time_ns = shifted_ns
    time.time = lambda: shifted_ns() / 1_000_000_000


class Stepped_Clock:
    """The clock of the processes that get `env`, `offset_s` ahead of everybody else's."""

    def __init__(self, folder: Path, offset_s: float = 0) -> None:
        self._path = folder / "clock-offset"
        modules = folder / "modules"
        modules.mkdir()
        (modules / "sitecustomize.py").write_text("from tests.real.stepped_clock import install\n\ninstall()\n")
        self.env = {"PYTHONPATH": f"{modules}:{PROJECT}", VARIABLE: str(self._path)}
        self.set(offset_s)

    def set(self, offset_s: float) -> None:
        written = self._path.with_suffix(".new")
        written.write_text(str(offset_s))
        written.replace(self._path)
