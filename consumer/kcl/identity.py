"""The KCL's worker id: host name and a random part, kept in the work directory, so that a container that starts again
finds its leases to be its own. Who holds an id holds a lock on its file; two processes never share one."""

import fcntl
import os
import re
import secrets
import socket
from pathlib import Path

from sa_stream.config import PREFIX
from sa_stream.errors import Config_Error, In_Use

_SLOTS = 256  # workers on one host with one work directory
_ID = re.compile(r"[A-Za-z0-9.-]{1,100}-[0-9a-f]{16}")
_HOST_CHARACTERS_MAX = 100


class Worker_Identity:
    """The first id of this host in `work_dir` that no other process holds: `with Worker_Identity(…) as worker_id`."""

    def __init__(self, work_dir: str) -> None:
        self._folder = Path(work_dir)
        self._descriptor: int | None = None

    def acquire(self) -> str:
        """The id; it is ours until `release` or the end of this process, however that comes.

        Raises Config_Error if the folder cannot be written to, In_Use if every id is taken.
        """
        host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:_HOST_CHARACTERS_MAX] or "host"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for slot in range(1, _SLOTS + 1):
                descriptor = os.open(
                    self._folder / f"worker-{host}-{slot}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
                )
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                    continue
                self._descriptor = descriptor
                return _kept(descriptor) or _keep(descriptor, f"{host}-{secrets.token_hex(8)}")
        except OSError as error:
            raise Config_Error(
                f"{PREFIX}WORK_DIR: expected a folder to write to, found {str(self._folder)!r} ({error})."
            ) from None
        raise In_Use(
            f"All {_SLOTS} worker ids of {host} in {self._folder} are taken: set {PREFIX}WORK_DIR to another folder."
        )

    def release(self) -> None:
        """Another process may have it now. Harmless if it was not acquired."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> str:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def _kept(descriptor: int) -> str:
    """The id in a file of ours; empty for a new file, and for one that was cut short."""
    text = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
    return text if _ID.fullmatch(text) else ""


def _keep(descriptor: int, worker_id: str) -> str:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{worker_id}\n".encode(), 0)
    return worker_id
