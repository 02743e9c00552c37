"""Who was started by whom, read from /proc: the processes of a daemon, by their role, and whether any is left."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct


class Seen(Struct, frozen=True):
    """A process as /proc shows it. `started` tells it from a later one with the same pid."""

    pid: int
    parent: int
    started: int
    command: str

    @property
    def role(self) -> str:
        """jvm, child, daemon (`python -m consumer`, below the guard that has the same command line), or other."""
        if "MultiLangDaemon" in self.command:
            return "jvm"
        if "shard_child" in self.command:
            return "child"
        return "daemon" if "consumer" in self.command else "other"


def see(pid: int) -> Seen | None:
    """None for a process that is gone; one that only waits to be reaped is gone as well."""
    try:
        state, parent, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else Seen(pid, int(parent), int(rest[17]), command.strip())


def see_all() -> list[Seen]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [seen for pid in pids if (seen := see(pid))]


def marked(mark: str) -> list[Seen]:
    """Every process whose environment holds this text, wherever it hangs in the tree."""
    found = []
    for seen in see_all():
        with suppress(OSError):
            if mark.encode() in Path(f"/proc/{seen.pid}/environ").read_bytes():
                found.append(seen)
    return found


def descendants(pid: int) -> list[Seen]:
    """Parents before their children; without the process itself."""
    everybody, found, parents = see_all(), [], [pid]
    while parents:
        parent = parents.pop(0)
        children = [seen for seen in everybody if seen.parent == parent]
        found += children
        parents += [child.pid for child in children]
    return found


def still_there(processes: Iterable[Seen]) -> list[Seen]:
    return [old for old in processes if (now := see(old.pid)) and now.started == old.started]


def kill(processes: Iterable[Seen]) -> None:
    """kill -9, each by its pid and only if it is still the one that was seen."""
    for process in still_there(processes):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
