"""One local runner a state store: a lock that a killed process cannot keep for long.

A state store comes in; what goes out is a lock that is held until it is released, or (of a bucket) until nobody
refreshes it any more.
"""

import contextlib
import fcntl
import json
import os
import secrets
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from sa_stream.errors import In_Use, Store_Unavailable
from sa_stream.log import LOCK_KEPT, Log
from sa_stream.storage.state_store import SETTING, State_Store

LOCK_KEY = "locks/local"
EXPIRY_S = 60.0
REFRESH_S = 20.0  # how often the holder calls refresh()

log = Log("lock")


class State_Lock:
    """A lock that is held. memory:// belongs to one process anyway, so there this class is all that it takes."""

    def refresh(self) -> None:
        """Say that the holder lives; call it every REFRESH_S.

        Raises In_Use if another process has taken over, Store_Unavailable if that could not be found out.
        """

    def release(self) -> None:
        """Give it up. Calling it twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def hold_lock(store: State_Store, expiry_s: float = EXPIRY_S, key: str = LOCK_KEY) -> State_Lock:
    """Become the one local runner of this state store, or the one who does what another key stands for.

    file:// a lock of the kernel, gone with the process however that ends; s3:// an object that counts until it has not
    been refreshed for `expiry_s`. Raises In_Use with the name of the holder, Store_Unavailable.
    """
    if store.scheme == "file":
        return _File_Lock(store, key)
    if store.scheme == "s3":
        return _Bucket_Lock(store, expiry_s, key)
    return State_Lock()


class _File_Lock(State_Lock):
    def __init__(self, store: State_Store, key: str) -> None:
        path = Path(store.location) / key
        try:
            path.parent.mkdir(exist_ok=True)  # not the store's own directory, if that is gone
            self._file = path.open("ab+", buffering=0)  # what a full disk does not take must not come again at the end
        except OSError as error:
            raise Store_Unavailable(
                f"The lock of the state store {store.url} cannot be opened: {error.strerror}. It is chosen by {SETTING}"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read().decode(errors="replace")
            self._file.close()
            raise _in_use(store, holder) from error
        except OSError as error:  # NFS without its lock daemon, a file system of a user's process
            self._file.close()
            raise Store_Unavailable(
                f"The lock of the state store {store.url} cannot be taken: {error.strerror}. Mount its file system "
                f"with locks, or point {SETTING} at another place"
            ) from error
        # Only for the sentence that others read. A full disk must not keep us from starting.
        with contextlib.suppress(OSError):
            self._file.truncate(0)
            self._file.write(_owner("").encode())

    def release(self) -> None:
        self._file.close()  # the file stays: deleting it would let two processes lock two files of one name


class _Bucket_Lock(State_Lock):
    def __init__(self, store: State_Store, expiry_s: float, key: str) -> None:
        self._store, self._expiry_s, self._key = store, expiry_s, key
        self._token = secrets.token_hex(8)
        for _ in range(3):  # it may vanish, or appear, between two looks
            if store.create(self._key, self._content()):
                return
            found = store.get_tagged(self._key)
            if found is None:
                continue
            content, e_tag = found
            if self._is_mine(content):  # the answer to our own creation was lost
                return
            left_s = self._left_s()
            if left_s > 0:
                raise _in_use(store, content.decode(errors="replace"), left_s)
            if store.replace(self._key, self._content(), e_tag):
                return
        raise _in_use(store, "")

    def refresh(self) -> None:
        for _ in range(3):  # a lost answer makes our own write look like another's: look again
            found = self._store.get_tagged(self._key)
            if found is None:
                if self._store.create(self._key, self._content()):
                    return
                continue
            content, e_tag = found
            if not self._is_mine(content):
                raise _in_use(self._store, content.decode(errors="replace"))
            if self._store.replace(self._key, self._content(), e_tag):
                return
        raise _in_use(self._store, "")

    def release(self) -> None:
        try:
            if self._is_mine(self._store.get(self._key) or b""):
                self._store.delete(self._key)
        except Store_Unavailable as error:  # nothing is lost: it expires by itself
            log.tell(LOCK_KEPT, f"the lock of the state store could not be released and expires by itself: {error}")

    def _content(self) -> bytes:
        """Never the same: an entity tag is a hash of the content, and must tell a refresh from the one before it."""
        return _owner(self._token, secrets.token_hex(4)).encode()

    def _is_mine(self, content: bytes) -> bool:
        return self._token.encode() in content

    def _left_s(self) -> float:
        """How long the lock still counts: by the store's clock alone, which an object that was just put tells."""
        probe = f"locks/clock-{self._token}"
        self._store.put(probe, b"what time is it")
        try:
            modified_ms = {item.key: item.modified_ms for item in self._store.list("locks")}
        finally:
            self._store.delete(probe)
        if self._key not in modified_ms:
            return 0
        if probe not in modified_ms:
            raise Store_Unavailable(f"The state store {self._store.url} does not list what was written to {probe}")
        return self._expiry_s - (modified_ms[probe] - modified_ms[self._key]) / 1000


def _owner(token: str, refresh: str = "") -> str:
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": token, "refresh": refresh})


def _in_use(store: State_Store, holder: str, left_s: float | None = None) -> In_Use:
    try:
        owner = json.loads(holder)
        who = f"process {owner['pid']} on {owner['host']}"
    except (ValueError, TypeError, KeyError):
        who = "another process"
    wait = "" if left_s is None else f" (for {left_s:.0f} s more, should it have died)"
    return In_Use(
        f"The state store {store.url} is used by {who}{wait}, and one local runner a state store is all that works. "
        f"Stop the other one, or point {SETTING} at another place"
    )
