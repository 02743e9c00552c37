"""The present of every partition: lists the progress records in the state store and reads the highest of each."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import batched, groupby

from sa_stream.commits.codec import decode_progress
from sa_stream.commits.keys import PROGRESS_PREFIX, parse_progress_key, progress_prefix
from sa_stream.commits.operations import Steps, call, together
from sa_stream.commits.ports import Store
from sa_stream.commits.progress import Progress
from sa_stream.errors import Corrupt_State
from sa_stream.log import OBJECT_UNREADABLE, Log
from sa_stream.partitions import NOTHING_READ, RETIRED
from sa_stream.timing import BEGINNING_MS, NEVER_MS

log = Log("progress")

READ_AT_ONCE = 64  # as many of them at the same time as whoever drives this makes
LISTINGS_MAX = 3  # a record that vanished between listing and reading was replaced by a higher one


class Progress_Reader:
    """Reads progress records. A key names one content for ever, so what was read once is remembered."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.unreadable: set[str] = set()  # keys whose bytes are not what was written, for health
        self._records: dict[str, Progress] = {}

    def steps(self) -> Steps[Mapping[str, Progress] | None]:
        """Partition -> the highest (number, watermark) of its progress records; at a tie the one that covers more.

        A record that vanished was replaced by a higher one, which is looked up again. None if the records of a
        partition kept moving while they were read: the next pass sees them at rest. A partition is never left out, as
        windows would then be final without it: one whose records are all unreadable has passed nothing and covers
        nothing.
        """
        keys = [item.key for item in (yield call(self.store.list, PROGRESS_PREFIX))]
        self._records = {key: self._records[key] for key in keys if key in self._records}
        self.unreadable.intersection_update(keys)
        listed = {
            partition: list(members)
            for partition, members in groupby(sorted(keys), lambda key: parse_progress_key(key)[0])
        }
        yield from self._read_steps(_highest_of(members) for members in listed.values())
        present: dict[str, Progress] = {}
        for partition, members in listed.items():
            found = yield from self._highest(partition, members)
            if found is None:
                found = yield from self.one_steps(partition)
            if found is None:
                return None
            present[partition] = found
        return present

    def one_steps(self, partition: str) -> Steps[Progress | None]:
        """The highest progress record of one partition, as in `steps`. None: it has none, or they kept moving."""
        for _ in range(LISTINGS_MAX):
            keys = [item.key for item in (yield call(self.store.list, progress_prefix(partition)))]
            found = yield from self._highest(partition, keys)
            if found is not None:
                return found if keys else None
        return None

    def _read_steps(self, groups: Iterable[Sequence[str]]) -> Steps[None]:
        """Read what is not known yet, several at a time: the highest of each partition, which nearly always is all."""
        fresh = [key for group in groups for key in group if key not in self._records]
        for some in batched(fresh, READ_AT_ONCE):
            found = yield from together(call(self.store.get, key) for key in some)
            for key, data in zip(some, found, strict=True):
                self._understand(key, data)

    def _understand(self, key: str, data: bytes | None) -> None:
        if data is None:
            return
        try:
            self._records[key] = decode_progress(data, key)
            self.unreadable.discard(key)
        except Corrupt_State as error:  # an older record of the partition is as true; counted for health
            if key not in self.unreadable:
                log.tell(OBJECT_UNREADABLE, f"progress record unreadable: {error}", key=key)
            self.unreadable.add(key)

    def _highest(self, partition: str, keys: list[str]) -> Steps[Progress | None]:
        """The highest readable record; None if one of the highest is gone. A tombstone says all in its key, and nothing
        that anybody writes after it counts."""
        tombstones = [since for _, number, since, _ in map(parse_progress_key, keys) if number == RETIRED]
        if tombstones:
            since_ms = max(tombstones)
            return Progress(partition, RETIRED, "", BEGINNING_MS, since_ms or BEGINNING_MS, ended=True)

        for _, tied in groupby(sorted(keys, key=_rank, reverse=True), _rank):
            records = []
            for key in sorted(tied):
                if key not in self._records:  # an unreadable one may have been put again
                    data = yield call(self.store.get, key)
                    if data is None:
                        return None
                    self._understand(key, data)
                if key in self._records:
                    records.append(self._records[key])
            if records:
                return max(records, key=lambda record: (record.watermark_ms, -record.since_ms, record.lineage))
        return Progress(partition, NOTHING_READ, "", BEGINNING_MS, NEVER_MS, ended=False)


def _rank(key: str) -> tuple[str, int]:
    _, number, watermark_ms, _ = parse_progress_key(key)
    return number, watermark_ms


def _highest_of(keys: Sequence[str]) -> list[str]:
    """The highest of a partition's keys, and those that tie with it; none where there is a tombstone, whose key says
    all."""
    highest = max(map(_rank, keys))
    return [] if highest[0] == RETIRED else [key for key in keys if _rank(key) == highest]
