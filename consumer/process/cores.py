"""How many cores this process may use. Standard library only."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores_allowed(cgroup: Path = CGROUP) -> int:
    """Those that the scheduler lets it run on; fewer where the container has a smaller share of their time."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota(cgroup) or cores))


def _quota(cgroup: Path) -> int | None:
    """Of version 2 or 1, in whole cores; None: no limit."""
    try:
        try:
            quota, period = (cgroup / "cpu.max").read_text().split()
        except FileNotFoundError:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) // int(period) or 1 if int(quota) > 0 else None
    except (OSError, ValueError):  # none, or `max`
        return None
