"""Puts log files elsewhere whose windows are final, and say what the files say: files, and what is known of their
windows, come in; what was moved, what was left and why, goes out.

Nothing is let go of before a manifest has it, and before its copy was compared with it. Whoever is killed anywhere
loses nothing: the next one carries out the manifests that are open, and then plans anew.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256 as new_sha256
from itertools import batched, groupby
from typing import Protocol

import msgspec
import xxhash
from msgspec import Struct, field
from msgspec.structs import replace

from sa_stream.archive.files import Archive_File, Stored
from sa_stream.commits.keys import MANIFESTS_PREFIX, manifest_key
from sa_stream.commits.operations import Steps, call, together
from sa_stream.commits.ports import Listed, Store
from sa_stream.errors import Config_Error, Corrupt_State, Source_Error, Store_Unavailable
from sa_stream.rollups.periods import DAILY, from_iso, iso, time_key
from sa_stream.timing import BEGINNING_MS, DAY_MS, WINDOW_MS

YOUNG = "younger"
NOT_FINAL = "not-final"
NOT_VERIFIED = "not-verified"
TOO_LARGE = "too-large"
COPY_BYTES_MAX = 5 << 30  # S3 copies no more in one call: boto3's CopyObject
READ_BYTES = 8 << 20
FILES_A_MANIFEST = 1_000
FILES_AT_ONCE = 64  # between two looks at whether we may go on
DONE = ".done"  # how the key ends that says that a manifest was carried out
COPIES_FOLDER = "_manifests/"  # of the manifests beside what was moved: no layout has it, and Athena passes over it


class Movable_Store(Protocol):
    """A store of log files, with what it takes to put them elsewhere. Every call may come from any thread, may be made
    again after it has failed, and raises Source_Error or Store_Unavailable, as an Archive_Store.

    place  what it is opened by
    """

    @property
    def place(self) -> str: ...
    def name_of(self, key: str) -> str: ...
    def read(self, stored: Stored, begin: int, length: int) -> bytes: ...
    def head(self, key: str) -> Stored | None:
        """What is there now; None: nothing."""

    def copy(self, stored: Stored, target: "Movable_Store", key: str, storage_class: str) -> None:
        """Copy an object that still is what was listed, to a store of the same kind. storage_class: empty for any."""

    def put(self, key: str, content: bytes) -> None: ...
    def delete(self, stored: Stored) -> None:
        """Delete an object that still is what was listed, or is not there any more."""


class Way(Struct, frozen=True):
    """From where to where files go: from below `base` of one place to below `to_base` of another; or they stay where
    they are, in another storage class."""

    place: str
    base: str
    to_place: str
    to_base: str
    storage_class: str = ""

    @property
    def in_place(self) -> bool:
        return bool(self.storage_class)


class Manifest(Struct, frozen=True):
    """The first line of a manifest: its name, which way its files go, and when that was written (ISO time)."""

    manifest: str
    at: str
    way: Way


class Move(Struct, frozen=True):
    """Another line: a file. path: below both bases; windows: those that it may have records of (ISO times)."""

    file: str
    to: str
    path: str
    size_bytes: int
    etag: str
    sha256: str
    windows: tuple[str, ...]


class Left(Struct, frozen=True):
    """A file that stays, and why: the windows for which it does."""

    file: Archive_File
    reason: str
    windows: tuple[int, ...]


class Plan(Struct, frozen=True):
    move: tuple[Archive_File, ...]
    left: tuple[Left, ...]


class Outcome(Struct):
    """What was done. failed: file -> why; manifests: their keys in the state store."""

    files: int = 0
    size_bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    manifests: list[str] = field(default_factory=list)


class Knowledge(Struct, frozen=True):
    """What is known of windows (start in ms).

    is_final  whether nothing more is expected of it
    verify    which of these say what their files say, looked up by reading these files
    proven    -> when it was seen to be so (ms), where that is written down: some of its files may be gone since
    """

    is_final: Callable[[int], bool]
    verify: Callable[[Sequence[int]], Collection[int]]
    proven: Mapping[int, int] = field(default_factory=dict)

    def is_proven(self, window_ms: int, file: Archive_File) -> bool:
        """With this file, which must have been there then."""
        return self.proven.get(window_ms, BEGINNING_MS) >= file.modified_ms


# ---------------------------------------------------------------------- what would be done


def plan_archive(
    files: Sequence[Archive_File],
    until_ms: int,
    settle_ms: int,
    final: Collection[int],
    verified: Callable[[int, Archive_File], bool],
) -> Plan:
    """Which files may go: all windows that they may have records of ended by `until_ms`, are final and verified."""
    move: list[Archive_File] = []
    left: list[Left] = []
    for file in files:
        starts = file.oldest.starts(settle_ms)
        young = tuple(start_ms for start_ms in starts if start_ms + WINDOW_MS > until_ms)
        open_ = tuple(start_ms for start_ms in starts if start_ms not in final)
        unproven = tuple(start_ms for start_ms in starts if not verified(start_ms, file))
        if young:
            left.append(Left(file, YOUNG, young))
        elif file.size_bytes > COPY_BYTES_MAX:
            left.append(Left(file, TOO_LARGE, tuple(starts)))
        elif open_:
            left.append(Left(file, NOT_FINAL, open_))
        elif unproven:
            left.append(Left(file, NOT_VERIFIED, unproven))
        else:
            move.append(file)
    return Plan(tuple(move), tuple(left))


def plan_steps(files: Sequence[Archive_File], until_ms: int, settle_ms: int, known: Knowledge) -> Steps[Plan]:
    """The same, with what is known of the windows looked up; only of files that may go by all else are any read."""
    starts = sorted({start_ms for file in files for start_ms in file.oldest.starts(settle_ms)})
    final = set()
    for start_ms in starts:
        if start_ms + WINDOW_MS <= until_ms and (yield call(known.is_final, start_ms)):
            final.add(start_ms)
    hopeful = plan_archive(files, until_ms, settle_ms, final, lambda window_ms, file: True).move
    asked = {
        start_ms
        for file in hopeful
        for start_ms in file.oldest.starts(settle_ms)
        if not known.is_proven(start_ms, file)
    }
    verified: Collection[int] = (yield call(known.verify, sorted(asked))) if asked else ()
    return plan_archive(
        files,
        until_ms,
        settle_ms,
        final,
        lambda window_ms, file: window_ms in verified or known.is_proven(window_ms, file),
    )


def by_day(files: Iterable[Archive_File]) -> Iterator[tuple[str, list[Archive_File]]]:
    """Files in the order of their keys, together by the day (UTC) on which their oldest record came."""
    for day_ms, group in groupby(files, lambda file: file.oldest.from_ms // DAY_MS * DAY_MS):
        for some in batched(group, FILES_A_MANIFEST):
            yield time_key(DAILY, day_ms), list(some)


# ---------------------------------------------------------------------- what is done


class Archiver:
    """Moves files one way, with manifests in the state store (`journal`) and beside the copies.

    open_store  opens the store of a place
    settle_ms   as for `Oldest.starts`
    alive       called now and then; what it raises ends the work, as a kill would
    """

    def __init__(
        self,
        journal: Store,
        way: Way,
        open_store: Callable[[str], Movable_Store],
        settle_ms: int,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._journal, self._way, self._open, self._settle_ms, self._alive = journal, way, open_store, settle_ms, alive
        self.outcome = Outcome()

    def resume_steps(self) -> Steps[None]:
        """Carry out the manifests that somebody has left open, whichever way they go. Raises Corrupt_State."""
        listed: Sequence[Listed] = yield call(self._journal.list, MANIFESTS_PREFIX)
        keys = {item.key for item in listed}
        for key in sorted(keys):
            if not key.endswith(DONE) and key + DONE not in keys:
                data = yield call(self._journal.get, key)
                yield from self._carry_out_steps(key, data)

    def proven_steps(self, day_ms: int) -> Steps[dict[int, int]]:
        """Windows of a day and those next to it that manifests name -> when they were verified (ms): files of them may
        be gone from the archive since."""
        proven: dict[int, int] = {}
        for each_ms in (day_ms - DAY_MS, day_ms, day_ms + DAY_MS):
            listed: Sequence[Listed] = yield call(self._journal.list, manifest_key(time_key(DAILY, each_ms), ""))
            for key in sorted(item.key for item in listed if not item.key.endswith(DONE)):
                manifest, moves = understood((yield call(self._journal.get, key)), key)
                if (manifest.way.place, manifest.way.base) == (self._way.place, self._way.base):
                    for window in {window for move in moves for window in move.windows}:
                        proven[from_iso(window)] = max(proven.get(from_iso(window), 0), from_iso(manifest.at))
        return proven

    def archive_steps(self, day: str, files: Sequence[Archive_File], at_ms: int) -> Steps[None]:
        """Write the manifest of files, then move them. What one of them does not allow is noted. Raises
        Store_Unavailable, and Config_Error if both places are one."""
        way, source, target = self._way, self._open(self._way.place), self._open(self._way.to_place)
        moves: list[Move] = []
        for some in batched(files, FILES_AT_ONCE):
            self._alive()
            hashes = yield from together(call(_hashed, source, file) for file in some)
            for file, (content_sha256, why) in zip(some, hashes, strict=True):
                if why:
                    self.outcome.failed[file.name] = why
                else:
                    moves.append(self._move(file, target, content_sha256))
        if not moves:
            return
        lines = lines_of(Manifest("", iso(at_ms), way), moves)
        manifest = Manifest(f"{day}-{xxhash.xxh3_64_hexdigest(lines)}", iso(at_ms), way)
        key, data = manifest_key(day, manifest.manifest), lines_of(manifest, moves)
        if not way.in_place:
            yield call(_put_beside, data, manifest, source, target)
        yield call(self._journal.create, key, data)
        yield from self._carry_out_steps(key, data)

    def _move(self, file: Archive_File, target: Movable_Store, content_sha256: str) -> Move:
        path = file.key.removeprefix(self._way.base)
        return Move(
            file.name,
            target.name_of(self._way.to_base + path),
            path,
            file.size_bytes,
            file.etag,
            content_sha256,
            tuple(map(iso, file.oldest.starts(self._settle_ms))),
        )

    def _carry_out_steps(self, key: str, data: bytes) -> Steps[None]:
        """What of a manifest is not done yet. It is closed when nothing of it is left that another run could do."""
        manifest, moves = understood(data, key)
        way = manifest.way
        source, target = self._open(way.place), self._open(way.to_place)
        self.outcome.manifests.append(key)
        failed: dict[str, str] = {}
        may_work_later = False
        for some in batched(moves, FILES_AT_ONCE):
            self._alive()
            results = yield from together(call(carried_out, move, way, source, target) for move in some)
            for move, (why, again) in zip(some, results, strict=True):
                if why:
                    failed[move.file] = why
                    may_work_later |= again
                else:
                    self.outcome.files += 1
                    self.outcome.size_bytes += move.size_bytes
        self.outcome.failed |= failed
        if not may_work_later:
            yield call(self._journal.put, key + DONE, msgspec.json.encode({"failed": failed}))


def lines_of(manifest: Manifest, moves: Iterable[Move]) -> bytes:
    """A manifest as JSON lines."""
    return b"".join(msgspec.json.encode(line) + b"\n" for line in (manifest, *moves))


def understood(data: bytes, key: str) -> tuple[Manifest, list[Move]]:
    """The reverse of `lines_of`. Raises Corrupt_State."""
    try:
        first, *others = data.splitlines()
        return msgspec.json.decode(first, type=Manifest), [msgspec.json.decode(line, type=Move) for line in others]
    except (ValueError, msgspec.MsgspecError) as error:
        raise Corrupt_State(
            f"{key} in the state store is no manifest of moved files ({error}). What it named is where it was, or "
            f"where the manifest of its name in {COPIES_FOLDER} beside the copies says: delete that of the state store"
        ) from error


def carried_out(move: Move, way: Way, source: Movable_Store, target: Movable_Store) -> tuple[str, bool]:
    """Move a file, from wherever an earlier try has come to. Why that did not work ('' if it did), and whether it may
    another time."""
    try:
        if way.in_place:
            _change_class(move, way, source)
        else:
            _copy(move, way, source, target)
            found = source.head(way.base + move.path)
            if found is not None:
                source.delete(replace(found, size_bytes=move.size_bytes, etag=move.etag))
    except Source_Error as error:
        return str(error), False
    except Store_Unavailable as error:
        return str(error), True
    return "", False


def _change_class(move: Move, way: Way, store: Movable_Store) -> None:
    found = store.head(way.base + move.path)
    if found is None:
        raise Source_Error(f"{move.file} is not there any more")
    if found.storage_class != way.storage_class:
        if found.etag != move.etag:
            raise Source_Error(f"{move.file} has changed since it was listed")
        store.copy(found, store, found.key, way.storage_class)
        found = store.head(found.key)
    _compare(move, store, found)


def _copy(move: Move, way: Way, source: Movable_Store, target: Movable_Store) -> None:
    """Make sure of a copy that is like the original."""
    found = target.head(way.to_base + move.path)
    if found is None:
        original = Stored(key=way.base + move.path, size_bytes=move.size_bytes, etag=move.etag, modified_ms=0)
        source.copy(original, target, way.to_base + move.path, "")
        found = target.head(way.to_base + move.path)
    _compare(move, target, found)


def _compare(move: Move, store: Movable_Store, found: Stored | None) -> None:
    """Source_Error unless what was found is the content that the manifest names."""
    if found is None:
        raise Store_Unavailable(f"{move.to} is not there, although it was written a moment ago")
    if found.size_bytes == move.size_bytes and (found.sha256 or _sha256_of(store, found)) == move.sha256:
        return
    raise Source_Error(
        f"{move.to} is another file than {move.file} was: expected {move.size_bytes} bytes of sha256 {move.sha256}, "
        f"found {found.size_bytes} bytes; the original stays where it is, if it is there"
    )


def _put_beside(data: bytes, manifest: Manifest, source: Movable_Store, target: Movable_Store) -> None:
    """Put the manifest beside the copies. Where it shows beside the originals then, both are one place, by whatever
    names, and letting go of an original would let go of its copy."""
    name, way = f"{COPIES_FOLDER}{manifest.manifest}.jsonl", manifest.way
    target.put(way.to_base + name, data)
    found = source.head(way.base + name)
    if found is not None:
        source.delete(found)
        raise _one_place(way, source, target)


def check_places(way: Way, source: Movable_Store, target: Movable_Store) -> None:
    """Raises Config_Error where both have one name, so that no plan promises what is refused then. One place of two
    names shows when something is put there."""
    if not way.in_place and target.name_of(way.to_base) == source.name_of(way.base):
        raise _one_place(way, source, target)


def _one_place(way: Way, source: Movable_Store, target: Movable_Store) -> Config_Error:
    return Config_Error(
        f"{target.name_of(way.to_base)} is where the files are already ({source.name_of(way.base)}): expected another "
        "bucket, prefix or folder after --to"
    )


def _hashed(store: Movable_Store, file: Archive_File) -> tuple[str, str]:
    """The hash of a file, or why it cannot be read."""
    try:
        return _sha256_of(store, file), ""
    except Source_Error as error:
        return "", str(error)


def _sha256_of(store: Movable_Store, stored: Stored) -> str:
    """Of an object that still is what was listed, in hex."""
    content = new_sha256()
    for begin in range(0, stored.size_bytes, READ_BYTES):
        content.update(store.read(stored, begin, min(READ_BYTES, stored.size_bytes - begin)))
    return content.hexdigest()
