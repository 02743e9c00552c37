"""This process's memory: how much it may take and how much it takes come in, when to shrink and when to pause goes out;
and how glibc deals with large arrays: a daemon gives memory back, a short program keeps it at hand.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sa_stream.timing import Moment

MIB = 1 << 20
JVM_BYTES = 400 * MIB  # resident, of the KCL's JVM and its children
MARGIN_RATE = 0.1  # of a container's memory: for what is in no process, and for the time that it takes to react
LIMIT_BYTES_LEAST = 256 * MIB  # with less, the engine would pause before it has read anything
PHYSICAL_RATE = 0.5  # without a container, of the machine's memory

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # malloc.h


def release_memory() -> None:
    """Give back what large arrays have left behind, which looks like growth from outside. Takes some milliseconds;
    worth it when windows have left memory."""
    with contextlib.suppress(AttributeError, OSError):  # another C library, which has no such call
        ctypes.CDLL(None).malloc_trim(0)


def keep_memory() -> None:
    """Keep freed memory for the next buffer, instead of asking the system for new pages each time: a tenth of the time
    of a program that reads a file and ends."""
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        library.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        library.mallopt(_M_TOP_PAD, 16 << 20)


def share_arenas() -> None:
    """Let all threads take memory from the same two places. Each thread's own would keep what its largest answer took:
    with 16 readers a third of the whole. Before any thread has started; glibc only."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


# ---------------------------------------------------------------------- how much there is


def memory_limit_bytes(
    setting_mb: int, jvm: bool, cgroup: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")
) -> int:
    """How much this process may take: the setting (MEMORY_LIMIT_MB, in MiB) unless it is 0; else what the container
    has, without the JVM's share and a margin; else half of the machine's memory, without the JVM's share. Without the
    setting never less than 256 MiB."""
    if setting_mb:
        return setting_mb * MIB
    physical_bytes = _physical_bytes(proc)
    allowed_bytes = min(_cgroup_limits(cgroup, proc), default=physical_bytes)
    if allowed_bytes < physical_bytes:
        limit_bytes = int(allowed_bytes * (1 - MARGIN_RATE))
    else:
        limit_bytes = int(physical_bytes * PHYSICAL_RATE)
    return max(LIMIT_BYTES_LEAST, limit_bytes - (JVM_BYTES if jvm else 0))


def _cgroup_limits(cgroup: Path, proc: Path) -> Iterator[int]:
    """Limits of this process's cgroup and of all above it, version 2 or 1; a container may see its own one as the
    root. An enormous one means none."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (cgroup / "memory", "memory.limit_in_bytes") if controllers else (cgroup, "memory.max")
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            text = _text(root.joinpath(*parts[:depth], name)).strip()
            if text.isdigit():
                yield int(text)


def _physical_bytes(proc: Path) -> int:
    for line in _text(proc / "meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return int(rest.split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # no such file here: another system, or another version of cgroups
        return ""


def resident_bytes(proc: Path = Path("/proc")) -> int:
    """Memory that this process takes right now; where there is no /proc, `ps` says (some milliseconds). 0 if nobody
    knows."""
    fields = _text(proc / "self" / "statm").split()
    if len(fields) > 1:
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        said = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, timeout=5)
        return int(said.stdout) * 1024
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


# ---------------------------------------------------------------------- what to do about it

OK, SHRINK, PAUSE = "ok", "shrink", "pause"
SHRINK_RATE, PAUSE_RATE = 0.80, 0.92  # of the limit: from here on up
LOWER_RATE = 0.70  # and below this again, for a while, all is well
CALM_MS = 2_000
SHRINK_EVERY_MS = 250  # freed memory shows only a moment later

# Measured, as resident memory of the daemon after malloc_trim.
PROGRAM_BYTES = 200 * MIB  # 155 at rest (163 with 64 shards at rest), 195 while it folds a batch of 10,000 records
SHARD_BYTES = 12 * MIB  # of a shard at full load whose windows have left: 600,000 request ids, and what finds them


def memory_needed_bytes(shards: int, read_ahead_rate: float = 0.0) -> int:
    """The least limit with which so many shards leave the level of a pause again; read_ahead_rate is the part of the
    limit that what was read and not yet taken may fill meanwhile."""
    return int((PROGRAM_BYTES + shards * SHARD_BYTES) / (LOWER_RATE - read_ahead_rate))


class Pressure:
    """How close the memory is to its limit.

    level  `ok`; `shrink`: make the largest windows smaller, one whenever `shrink_due`; `pause`: commit everything,
           evict, release memory, and read nothing until it is `ok` again
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.level = OK
        self.resident_bytes = 0
        self._high: Moment | None = None  # when it was last above the lower mark
        self._shrunk: Moment | None = None

    def look(self, resident_bytes: int, now: Moment) -> str:
        """The level from now on. Up at once; down only from the lower mark, once it has been below it for two seconds,
        so that it does not go to and fro."""
        self.resident_bytes = resident_bytes
        rate = resident_bytes / self.limit_bytes
        if rate >= LOWER_RATE:
            self._high = now
        if rate >= PAUSE_RATE:
            self.level = PAUSE
        elif rate >= SHRINK_RATE and self.level == OK:
            self.level = SHRINK
        elif rate < LOWER_RATE and (self._high is None or now - self._high >= CALM_MS):
            self.level = OK
        return self.level

    def shrink_due(self, now: Moment) -> bool:
        """Whether one more window should be made smaller now."""
        if self.level == OK or (self._shrunk is not None and now - self._shrunk < SHRINK_EVERY_MS):
            return False
        self._shrunk = now
        return True

    def __str__(self) -> str:
        return f"memory is at {self.resident_bytes // MIB} of {self.limit_bytes // MIB} MiB"
