"""Windows that were computed as a whole from the files of the S3 archive: keys of the state store come in; which of
them counts, and which windows need one, goes out.

A repair is a partial of the partition `s3`, and its number is how many files were read: the one of most files counts.
Where there is one, it *is* the window, and never a part of it: nothing of the stream is added to it. It takes the place
of nothing that the stream has made final.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
import xxhash
from msgspec import Struct

from sa_stream.commits.keys import REPAIRS_PREFIX, parse_repair_key, repair_files_key, repair_key
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.ports import Listed, Store
from sa_stream.commits.progress import Progress
from sa_stream.commits.secrets import destroyed_months_steps
from sa_stream.errors import Store_Unavailable
from sa_stream.log import OBJECT_UNREADABLE, Log
from sa_stream.partitions import Partial_Name, Shard_Info, number_of
from sa_stream.rollups.entry import S3
from sa_stream.rollups.finality import BEFORE_START, NOT_COVERED, OPEN, SET_ASIDE, Stream_View, Window_View
from sa_stream.timing import BEGINNING_MS, HOUR_MS, MINUTE_MS, WINDOW_MS, Moment, Now, Timing, month_of

log = Log("repairs")

WHOLE = "whole"  # every file of the window was read
BROKEN = "broken"  # some could not be: they are named beside it
FILE_UNREADABLE = "file-unreadable"  # why such a window is not final
LEFT_OUT_MAX = 1_000  # old windows that are computed in one go
DESTROYED_LOOK_MS = 10 * MINUTE_MS  # between two looks for months whose secret is destroyed; clean-ups are as rare
IMPOSSIBLE_FOR_MS = HOUR_MS  # windows of such a month are left out so long after it was found: then that was told
NEVER_BY_ITSELF = (NOT_COVERED, BEFORE_START, SET_ASIDE)  # what the stream cannot make up for


class Repair(Struct, frozen=True, order=True):
    """A window as its files gave it.

    files    how many of them were read; a repair of more takes the place of one of less
    whole    and none of them could not be read
    lineage  which files, read with which settings and hash secret
    """

    files: int
    whole: bool
    lineage: str

    @property
    def name(self) -> Partial_Name:
        return Partial_Name(self.lineage, str(self.files))

    def key(self, window_ms: int) -> str:
        return repair_key(window_ms, self.files, self.lineage)


def repair_of(files: int, whole: bool, content: str) -> Repair:
    """`content`: a hash of which files were read, and how."""
    return Repair(files, whole, f"{content}-{WHOLE if whole else BROKEN}")


def content_of(reading: str, found: Iterable[str], broken: Iterable[str]) -> str:
    """A hash of which files were found and could not be read, as many of them but others being another content.

    reading  what decides the content of a window, besides its records
    """
    return xxhash.xxh3_64_hexdigest("\n".join([reading, *sorted(found), *sorted(broken)]).encode())


def unreadable_file(name: str, why: str | None) -> dict[str, Any]:
    """How an entry names a file that it lacks."""
    return {"partition": S3, "reason": FILE_UNREADABLE, "file": name, "error": why}


def repairs_steps(store: Store) -> Steps[dict[int, Repair]]:
    """Window (start in ms) -> the repair that counts. One LIST."""
    listed: Iterable[Listed] = yield call(store.list, REPAIRS_PREFIX)
    return best_repairs(listed)


def best_repairs(listed: Iterable[Listed]) -> dict[int, Repair]:
    """Window (start in ms) -> of its repairs the one that counts."""
    best: dict[int, Repair] = {}
    for item in listed:
        window_ms, number, lineage = parse_repair_key(item.key)
        found = Repair(int(number_of(number)), lineage.endswith(f"-{WHOLE}"), lineage)
        best[window_ms] = max(found, best.get(window_ms, found))
    return best


def computed_from_ms(only_from_ms: int, repairs: Iterable[int]) -> int:
    """Where there is no stream: from when on windows are computed. Older ones than the oldest repair were, or are to be
    left: repairs are forgotten from there on (`forget_repairs_steps`). Of what a backfill made before, nothing follows.
    """
    return min((window_ms for window_ms in repairs if window_ms >= only_from_ms), default=only_from_ms)


def put_repair_steps(
    store: Store, window_ms: int, repair: Repair, data: bytes, named: Mapping[str, str]
) -> Steps[None]:
    """Keep a computed window. `named`, before the window is there: of a whole one the files that it was made of, each
    with nothing; of another those that could not be read -> why."""
    if named:
        yield call(store.put, repair_files_key(window_ms, repair.files, repair.lineage), msgspec.json.encode(named))
    yield call(store.put, repair.key(window_ms), data)


def missing_of_steps(store: Store, window_ms: int, repair: Repair) -> Steps[list[dict[str, Any]]]:
    """The files without which a repaired window is not final: unnamed where what names them is lost or torn."""
    if repair.whole:
        return []
    broken = yield from _named_steps(store, window_ms, repair)
    named = [unreadable_file(name, why) for name, why in sorted(broken.items())]
    return named or [{"partition": S3, "reason": FILE_UNREADABLE}]


def files_of_steps(store: Store, window_ms: int, repair: Repair) -> Steps[frozenset[str] | None]:
    """What a whole repair was made of; None where nothing says so: it is lost or torn, or of an older version."""
    named = yield from _named_steps(store, window_ms, repair)
    return frozenset(named) if len(named) == repair.files else None


def _named_steps(store: Store, window_ms: int, repair: Repair) -> Steps[dict[str, str]]:
    key = repair_files_key(window_ms, repair.files, repair.lineage)
    data = yield call(store.get, key)
    try:
        return msgspec.json.decode(data, type=dict[str, str]) if data is not None else {}
    except msgspec.MsgspecError as error:
        log.tell(OBJECT_UNREADABLE, f"{key} does not name the files that it should: {error}", key=key)
        return {}


class Standstills:
    """Since when each shard has made no progress, as far as we have watched."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[object, Moment]] = {}

    def watch(self, stream: Stream_View, now: Moment) -> None:
        known = self._seen
        self._seen = {}
        for partition in ("", *stream.merge_set):
            own = stream.progress.get(partition)
            at: object = stream.answers if own is None else (own.number, own.watermark_ms, own.lineage)
            before = known.get(partition)
            self._seen[partition] = before if before is not None and before[0] == at else (at, now)

    def standing(self, now: Moment, for_ms: int) -> frozenset[str]:
        """Those that have stood still for so long."""
        return frozenset(partition for partition, (_, since) in self._seen.items() if now - since >= for_ms)


def needs_repair(view: Window_View, standing: frozenset[str]) -> bool:
    """Whether the stream will not make an ended window final: it lost something of it, or who is missing stands still
    (which does not rule out that it goes on: then the repair stays)."""
    reasons = {missing.reason for missing in view.missing}
    if not reasons or OPEN in reasons:
        return False
    return bool(reasons.intersection(NEVER_BY_ITSELF)) or any(missing.partition in standing for missing in view.missing)


class Repair_Settings(Struct, frozen=True):
    """after_ms      how long after its end a window is computed from the archive, unless it is final then, or a shard
                  that it waits for makes progress
    only_from_ms  there is no stream: every window is computed so that begins then or later; None: there is one
    """

    after_ms: int = 15 * MINUTE_MS
    only_from_ms: int | None = None


class Archive_View:
    """What a reconciler knows of the archive. `repairs`: window (start in ms) -> what was computed of it."""

    def __init__(self, store: Store, timing: Timing, archive: Repair_Settings | None) -> None:
        self._store, self._timing, self._archive = store, timing, archive
        self._standstills = Standstills()
        self._shards: Sequence[Shard_Info] = ()  # as last listed
        self._passed_ms = BEGINNING_MS  # when the stream last answered
        self._lost: dict[int, Moment] = {}  # window -> since when something that it is made of is not to be had
        self._done: set[int] = set()  # windows of which no other file can come, and whose repairs were forgotten
        self._destroyed: dict[str, Moment] = {}  # month whose hash secret is destroyed -> since when we know that
        self._destroyed_at: Moment | None = None  # when that was last looked up
        self.repairs: dict[int, Repair] = {}

    def stream_steps(
        self, list_shards: Callable[[], Iterable[Shard_Info]], progress: Mapping[str, Progress], now: Now
    ) -> Steps[Stream_View]:
        """All windows as of now. A stream that does not answer keeps nothing from being published that was computed
        from the archive."""
        archive = self._archive
        if archive is None:
            shards: Iterable[Shard_Info] = yield call(list_shards)
            return Stream_View(shards, progress, self._timing, now.wall_ms)
        self.repairs = yield from repairs_steps(self._store)
        yield from self._destroyed_steps(now.moment)
        answers = True
        try:
            shards = yield call(list_shards)
            self._shards = tuple(shards)
        except Store_Unavailable:  # health has it from the source
            answers = False
        stream = Stream_View(
            self._shards, progress, self._timing, now.wall_ms, answers=answers, archive_from_ms=archive.only_from_ms
        )
        self._standstills.watch(stream, now.moment)
        if answers:
            self._passed_ms = stream.passed_ms
        return stream

    def _destroyed_steps(self, now: Moment) -> Steps[None]:
        if self._destroyed_at is None or now - self._destroyed_at >= DESTROYED_LOOK_MS:
            months = yield from destroyed_months_steps(self._store)
            self._destroyed = {month: self._destroyed.get(month, now) for month in months}
            self._destroyed_at = now

    def merged(self, window_ms: int, not_lost: bool, now: Moment) -> None:
        """Whether all that a window is made of was there."""
        if not_lost:
            self._lost.pop(window_ms, None)
        else:
            self._lost.setdefault(window_ms, now)
            self._done.discard(window_ms)

    def is_done(self, stream: Stream_View, window_ms: int) -> bool:
        """Whether a window whose entry is final from the archive needs no other look: no late record can come any more,
        its repair was forgotten, and its summary is not lost. It is no candidate from then on."""
        if window_ms in self.repairs or window_ms in self._lost or window_ms >= self._late_from_ms(stream):
            return False
        self._done.add(window_ms)
        return True

    def _late_from_ms(self, stream: Stream_View) -> int:
        """To windows that begin from then on, late records may still come."""
        return stream.now_ms - self._timing.allowed_lateness_ms - WINDOW_MS

    def forget_steps(self, window_ms: int, key: str) -> Steps[None]:
        """A repair that cannot be read is none: where one is needed it is computed again, under the same key."""
        yield call(self._store.delete, key)
        self.repairs.pop(window_ms, None)

    def candidates(self, stream: Stream_View, now: Moment) -> list[int]:
        """Windows that ended a while ago and that the stream does not make final, oldest first. As long as a late
        record may come, those that were computed before are among them, as another of their files may come; older ones
        as long as nobody has computed them as a whole: of a stream as far back as a standstill for its whole retention
        goes, without one from the beginning on. A month's secret stays for as long (`forget_secrets_steps`); where it
        is gone all the same, its windows keep no others from their turn."""
        archive = self._archive
        if archive is None:
            return []
        standing = self._standstills.standing(now, archive.after_ms)

        def is_candidate(window_ms: int) -> bool:
            gone = self._destroyed.get(month_of(window_ms))
            if gone is not None and now - gone >= IMPOSSIBLE_FOR_MS:
                return False
            if archive.only_from_ms is not None or window_ms in self.repairs:
                return True
            if (since := self._lost.get(window_ms)) is not None and now - since >= archive.after_ms:
                return True
            passed = window_ms + WINDOW_MS <= self._passed_ms  # nobody stands in its way, whether or not they move
            return needs_repair(stream.window(window_ms), frozenset() if passed else standing)

        oldest_ms = self._late_from_ms(stream)
        first_ms = -(-oldest_ms // WINDOW_MS) * WINDOW_MS
        last_ms = stream.now_ms - archive.after_ms - WINDOW_MS
        if archive.only_from_ms is None:
            begin_ms = oldest_ms - self._timing.retention_longest_ms
        else:
            begin_ms = computed_from_ms(archive.only_from_ms, self.repairs)
            first_ms = max(first_ms, -(-archive.only_from_ms // WINDOW_MS) * WINDOW_MS)
        older = range(-(-begin_ms // WINDOW_MS) * WINDOW_MS, min(first_ms, last_ms + 1), WINDOW_MS)

        def left(impossible: bool) -> Iterable[int]:
            alike = (start_ms for start_ms in older if (month_of(start_ms) in self._destroyed) == impossible)
            wanted = (each for each in alike if each not in self._done and not self._is_whole(each))
            return islice(filter(is_candidate, wanted), LEFT_OUT_MAX)

        return [
            *left(impossible=True),
            *left(impossible=False),
            *filter(is_candidate, range(first_ms, last_ms + 1, WINDOW_MS)),
        ]

    def _is_whole(self, window_ms: int) -> bool:
        repair = self.repairs.get(window_ms)
        return repair is not None and repair.whole
