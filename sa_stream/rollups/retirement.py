"""Clears the state store of what nobody can need any more: the records of shards that ended long ago, which keep their
windows in the merge set until then, the partials of windows that every partition forgot, the hash secrets of closed
months; and puts right what was lost.

Nothing goes that the *stream* has not passed, whatever our clock says: a backlog of days is read in minutes, and a
clock may be days ahead. And nothing goes that is young by the store's own clock.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby

from sa_stream.commits.codec import encode_progress
from sa_stream.commits.keys import (
    CHECKPOINTS_PREFIX,
    EDITIONS_PREFIX,
    LATE_FILES_PREFIX,
    PARTIALS_PREFIX,
    PROGRESS_PREFIX,
    REPAIR_FILES_PREFIX,
    REPAIRS_PREFIX,
    SECRETS_PREFIX,
    SUMMARIES_PREFIX,
    destroyed_secret_key,
    parse_late_file_key,
    parse_progress_key,
    progress_key,
    progress_prefix,
    snapshots_prefix,
    summary_key,
    window_label,
)
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.ports import Cache, Listed, Store
from sa_stream.commits.progress import Progress
from sa_stream.commits.protocol import restore_end_steps
from sa_stream.commits.secrets import destroyed_months_steps
from sa_stream.partitions import NOTHING_READ, RETIRED
from sa_stream.records.dead_letters import PREFIX as DEAD_LETTERS_PREFIX
from sa_stream.rollups.editions import close_steps
from sa_stream.rollups.entry import FINAL, S3, Entry
from sa_stream.rollups.finality import Sources, Stream_View
from sa_stream.rollups.periods import CLOSED_BY, HALF_HOUR, MONTHLY, cache_key, end_of, parse_cache_key, start_of
from sa_stream.rollups.readable import readable
from sa_stream.rollups.repairs import Repair, best_repairs, computed_from_ms
from sa_stream.rollups.versions import names_of
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.timing import BEGINNING_MS, WINDOW_MS, end_of_month, month_of, start_of_month

DELETED_AT_ONCE = 1_000  # objects a call: S3 takes no more in one


def retirable(stream: Stream_View, settled: Mapping[int, Sources]) -> list[str]:
    """Ended partitions that may be forgotten.

    settled  window -> partials that its entry lists (Pass_Result.settled)

    The stream has trimmed the shard, as its list says (one that is not empty) and its age; every child has read
    something; all windows are published and so old that nothing amends them; and its own parents are gone already, as
    an ended shard without a known child has passed nothing.
    """
    old_ms = stream.settled_until_ms - stream.timing.keep_ms
    trimmed_ms = stream.settled_until_ms - stream.timing.retention_longest_ms

    def forgettable(partition: str, own: Progress) -> bool:
        children = [stream.progress.get(child) for child in stream.children(partition)]
        return (
            own.ended
            and stream.any_listed
            and not stream.listed(partition)
            and not stream.parents(partition)
            and own.position_ms < trimmed_ms
            and own.watermark_ms < old_ms
            and all(child is not None and (child.ended or child.number != NOTHING_READ) for child in children)
            and all(
                start_ms + WINDOW_MS < old_ms and (partition, name) in settled.get(start_ms, ())
                for start_ms, name in own.partials.items()
            )
        )

    return [partition for partition, own in stream.progress.items() if forgettable(partition, own)]


def retire_steps(store: Store, partition: str, since_ms: int) -> Steps[None]:
    """Put a tombstone, then delete everything else: whatever somebody who slept through it writes later, the tombstone
    stands above it. In its key is what the partition covered, for windows that become final only later."""
    since_ms = max(0, since_ms)
    tombstone = Progress(partition, RETIRED, "", BEGINNING_MS, since_ms or BEGINNING_MS, ended=True)
    yield call(store.put, progress_key(partition, RETIRED, since_ms, RETIRED), encode_progress(tombstone))
    for prefix in (snapshots_prefix(partition), progress_prefix(partition)):
        listed = yield call(store.list, prefix)
        if keys := [item.key for item in listed if f"/{RETIRED}/" not in item.key]:
            yield call(store.delete, keys)


def forget_partials_steps(store: Store, stream: Stream_View, store_clock_ms: int) -> Steps[int]:
    """Delete the partials of windows that ended long ago and that no partition names; how many. Until then they serve
    a late record in another partition: an entry lists them, and is made of all that it lists."""
    named = {f"{PARTIALS_PREFIX}{window_label(window_ms)}" for window_ms in stream.named}
    passed_ms = min(stream.settled_until_ms, stream.amendable_from_ms)
    if passed_ms == BEGINNING_MS:
        return 0
    first_kept = f"{PARTIALS_PREFIX}{window_label(passed_ms - 2 * stream.timing.keep_ms)}"
    deleted = 0
    folders: Sequence[str] = yield call(store.list_folders, PARTIALS_PREFIX)
    for folder in folders:
        if folder < first_kept and folder not in named:
            listed = yield call(store.list, f"{folder}/")
            old = [item.key for item in listed if store_clock_ms - item.modified_ms >= stream.timing.keep_ms]
            if old:
                yield call(store.delete, old)
                deleted += len(old)
    return deleted


def forget_secrets_steps(store: Store, cache: Cache, stream: Stream_View) -> Steps[list[str]]:
    """Destroy the hash secrets of closed months: final or never to be, and too old to be amended or computed from the
    archive. Without it, nobody can find out any more whose request id or agent a stored hash was made of. Returns the
    months.

    That it was destroyed is written down first: a month whose secret is gone takes no more records.
    """
    closed: dict[str, list[Listed]] = {}
    for item in (yield call(store.list, SECRETS_PREFIX)):
        month = item.key.removeprefix(SECRETS_PREFIX).partition(".")[0]
        if end_of_month(month) + stream.timing.keep_ms < stream.settled_until_ms:
            closed.setdefault(month, []).append(item)
    for month, secrets in list(closed.items()):
        key = f"{MONTHLY}/{month}"
        entry = readable(key, (yield call(cache.retrieve_entry, NS_SA_AGGREGATE, key)))
        final = entry is not None and entry["status"] == FINAL
        if not final and (yield from _needs_secret_steps(store, stream, month, secrets)):
            del closed[month]
            continue
        yield call(store.create, destroyed_secret_key(month), b"")
        yield call(store.delete, [item.key for item in secrets])
    return list(closed)


def _needs_secret_steps(store: Store, stream: Stream_View, month: str, secrets: Sequence[Listed]) -> Steps[bool]:
    """Whether somebody may still need the secret of a month that is not final: it waits for something; or its windows
    may be computed from the archive, as far back as `Archive_View.candidates` goes (the stream has their records for as
    long); or the secret is young, as of a month that somebody has just begun to backfill."""
    timing, end_ms = stream.timing, end_of_month(month)
    repaired_until_ms = end_ms + timing.allowed_lateness_ms + timing.retention_longest_ms
    if stream.covers(start_of_month(month)) or (not stream.archive and repaired_until_ms >= stream.settled_until_ms):
        return True
    listed: Sequence[Listed] = yield call(store.list, REPAIRS_PREFIX)
    clock_ms = yield from _store_clock_steps(store)
    old_ms = max(clock_ms, *(item.modified_ms for item in (*secrets, *listed))) - timing.keep_ms
    if any(item.modified_ms > old_ms for item in secrets):
        return True
    if stream.archive_from_ms is None:
        return False
    best, modified_ms = best_repairs(listed), {item.key: item.modified_ms for item in listed}
    first_ms = max(start_of_month(month), computed_from_ms(stream.archive_from_ms, best))

    def waits(window_ms: int) -> bool:
        repair = best.get(window_ms)  # a file that could not be read for as long will not be
        return repair is None or (not repair.whole and modified_ms[repair.key(window_ms)] > old_ms)

    return any(map(waits, range(-(-first_ms // WINDOW_MS) * WINDOW_MS, end_ms, WINDOW_MS)))


def forget_summaries_steps(store: Store, cache: Cache, stream: Stream_View) -> Steps[int]:
    """Delete the summaries that no roll-up needs any more; how many. Half hours and hours are there for their day, days
    for their month: once that is final, and so old that nothing amends it and no partial is left, nothing can be made
    of them again. What a month is made into stays. The editions of the same entries are kept together from then on.
    """
    passed_ms = min(stream.settled_until_ms - 2 * stream.timing.keep_ms, stream.amendable_from_ms)
    left = {folder.removeprefix(PARTIALS_PREFIX) for folder in (yield call(store.list_folders, PARTIALS_PREFIX))}
    deleted = 0
    for period, whole in CLOSED_BY.items():
        folders: Sequence[str] = yield call(store.list_folders, f"{SUMMARIES_PREFIX}{period}")
        starts = [parse_cache_key(folder.removeprefix(SUMMARIES_PREFIX))[1] for folder in folders]
        for whole_ms, members in groupby(starts, partial(start_of, whole)):
            end_ms = end_of(whole, whole_ms)
            if end_ms >= passed_ms or not left.isdisjoint(map(window_label, range(whole_ms, end_ms, WINDOW_MS))):
                continue
            key = cache_key(whole, whole_ms)
            entry = readable(key, (yield call(cache.retrieve_entry, NS_SA_AGGREGATE, key)))
            if entry is not None and entry["status"] == FINAL:
                editions = yield call(store.list, f"{EDITIONS_PREFIX}{period}/")
                yield from close_steps(store, period, whole_ms, [item.key for item in editions])
                for start_ms in members:
                    listed = yield call(store.list, summary_key(cache_key(period, start_ms), ""))
                    yield call(store.delete, [item.key for item in listed])
                    deleted += len(listed)
    return deleted


def forget_repairs_steps(store: Store, cache: Cache, stream: Stream_View) -> Steps[int]:
    """Delete the repairs that others of more files have replaced a while ago, by the store's own clock, and those of
    windows that are too old to be computed again and whose entry is final; with what belongs to them. How many.

    Where there is no stream, from the oldest since the start on: so what is older than that was computed, or is to be
    left. One that lacks a file keeps those behind it until its month's secret is destroyed: from then on none can come
    that lacks none.
    """
    listed: Sequence[Listed] = yield call(store.list, REPAIRS_PREFIX)
    best = best_repairs(listed)
    kept = {repair.key(window_ms) for window_ms, repair in best.items()}
    replaced_ms = max((item.modified_ms for item in listed), default=0) - stream.timing.keep_ms
    gone = {item.key: None for item in listed if item.key not in kept and item.modified_ms <= replaced_ms}
    old_ms = stream.settled_until_ms - stream.timing.keep_ms
    destroyed: set[str] = (yield from destroyed_months_steps(store)) if stream.archive else set()
    for window_ms, repair in sorted(best.items()):
        in_order = stream.archive_from_ms is not None and window_ms >= stream.archive_from_ms
        if window_ms >= old_ms or (in_order and window_ms + WINDOW_MS not in best):
            break
        key = cache_key(HALF_HOUR, window_ms)
        entry = readable(key, (yield call(cache.retrieve_entry, NS_SA_AGGREGATE, key)))
        if entry is not None and _is_done(entry, repair, as_it_is=month_of(window_ms) in destroyed):
            folder = f"{REPAIRS_PREFIX}{window_label(window_ms)}/"  # all of them, or a lesser one would count
            gone |= {item.key: None for item in listed if item.key.startswith(folder)}
        elif in_order:
            break
    named = {REPAIR_FILES_PREFIX + key.removeprefix(REPAIRS_PREFIX) for key in gone}
    beside: Sequence[Listed] = yield call(store.list, REPAIR_FILES_PREFIX)
    late: Sequence[Listed] = yield call(store.list, LATE_FILES_PREFIX)
    for keys in (
        [item.key for item in beside if item.key in named],
        [item.key for item in late if parse_late_file_key(item.key) < old_ms],
        sorted(gone),
    ):
        yield from _delete_steps(store, keys)
    return len(gone)


def _is_done(entry: Entry, repair: Repair, as_it_is: bool) -> bool:
    """Whether an entry needs its repair no more: it is final and says what that does, or is the stream's, which a
    repair does not replace. as_it_is: it is final, or says what the repair does."""
    final, shown = entry["status"] == FINAL, names_of(entry).get(S3) == repair.name
    if as_it_is:
        return final or shown
    return final and (entry.get("provenance") != S3 or (repair.whole and shown))


def forget_dead_letters_steps(store: Store, kept_ms: int) -> Steps[int]:
    """Delete dead letters that were written longer ago than this, by the store's own clock; how many. Nothing reads
    them but people."""
    store_clock_ms = yield from _store_clock_steps(store)
    deleted = 0
    folders: Sequence[str] = yield call(store.list_folders, DEAD_LETTERS_PREFIX)
    for folder in folders:  # a partition each
        listed: Sequence[Listed] = yield call(store.list, f"{folder}/")
        old = [item.key for item in listed if store_clock_ms - item.modified_ms >= kept_ms]
        yield from _delete_steps(store, old)
        deleted += len(old)
    return deleted


def _delete_steps(store: Store, keys: Sequence[str]) -> Steps[None]:
    for begin in range(0, len(keys), DELETED_AT_ONCE):
        yield call(store.delete, keys[begin : begin + DELETED_AT_ONCE])


def _store_clock_steps(store: Store) -> Steps[int]:
    """Not after what the store's clock shows now: the newest progress record was written now or earlier."""
    listed: Sequence[Listed] = yield call(store.list, PROGRESS_PREFIX)
    return max((item.modified_ms for item in listed), default=BEGINNING_MS)


def clean_up_steps(store: Store, cache: Cache, stream: Stream_View, settled: Mapping[int, Sources]) -> Steps[None]:
    """All of it; now and then is enough."""
    for partition in stream.lost:
        yield from restore_end_steps(store, partition, stream.timing)
    for partition in retirable(stream, settled):
        yield from retire_steps(store, partition, stream.coverage_ms(partition))
    listed: Sequence[Listed] = yield call(store.list, PROGRESS_PREFIX)
    yield from _exorcise_steps(store, listed)
    # the newest progress record was written now or earlier
    store_clock_ms = max((item.modified_ms for item in listed), default=BEGINNING_MS)
    yield from forget_partials_steps(store, stream, store_clock_ms)
    yield from forget_summaries_steps(store, cache, stream)
    yield from forget_secrets_steps(store, cache, stream)
    yield from forget_repairs_steps(store, cache, stream)


def _exorcise_steps(store: Store, listed: Sequence[Listed]) -> Steps[None]:
    """Delete what somebody wrote of a partition that was retired meanwhile, and where the local runner stood in it."""
    keys: dict[str, list[str]] = {}
    retired = set()
    for item in listed:
        partition, number, _, _ = parse_progress_key(item.key)
        if number == RETIRED:
            retired.add(partition)
        else:
            keys.setdefault(partition, []).append(item.key)
    if retired:
        checkpoints = yield call(store.list, CHECKPOINTS_PREFIX)
        for item in checkpoints:
            if item.key.removeprefix(CHECKPOINTS_PREFIX) in retired:
                yield call(store.delete, item.key)
    for partition in sorted(retired & keys.keys()):
        snapshots = yield call(store.list, snapshots_prefix(partition))
        yield call(store.delete, [*keys[partition], *(item.key for item in snapshots)])
