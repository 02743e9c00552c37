"""The commit protocol and its recovery: what makes every record count once, whoever dies when.

A window in memory is a write-back cache of its partial. Nothing in the state store is overwritten with something else:
a key names one content, a function of the partition's records up to its number. So no store needs compare-and-swap, a
crash between any two steps repeats work and changes nothing, and a worker that lost its lease may write on: what it
writes is true, but it cannot commit.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import batched

from sa_stream.commits.codec import decode_progress, encode_progress, snapshot_inside
from sa_stream.commits.keys import (
    has_snapshot,
    parse_progress_key,
    parse_snapshot_key,
    partial_key,
    progress_key,
    progress_prefix,
    snapshot_key,
    snapshots_prefix,
)
from sa_stream.commits.operations import Call, Steps, call, together
from sa_stream.commits.ports import Store
from sa_stream.commits.progress import Progress
from sa_stream.commits.remains import CALLS_MAX, Remains, leftovers_steps
from sa_stream.commits.shared import Shared
from sa_stream.errors import Corrupt_State, Superseded
from sa_stream.partitions import END, NOTHING_READ, Partial_Name, Shard_Info, sortable
from sa_stream.timing import BEGINNING_MS, WINDOW_MS, Timing
from sa_stream.windows.coverage import SNAPSHOT, First_Start, Loss
from sa_stream.windows.partition_state import Partition_State
from sa_stream.windows.window import Window

LISTINGS_MAX = 3  # of snapshots, while they vanish
SNAPSHOT_INSIDE_BYTES_MAX = 64 << 10  # a larger one is no part of what every publisher reads


type Checkpoint = Callable[[str], None]  # checkpoint(number): raises Lease_Lost when somebody else owns the partition


def commit_steps(
    state: Partition_State,
    store: Store,
    checkpoint: Checkpoint,
    remains: Remains,
    ended: bool = False,
    prunable: Sequence[int] = (),
    redelivered: bool = True,
) -> Steps[None]:
    """Commit what the partition knows after record n.

    1  put the partial of every window touched since the last commit
    2  put the snapshot, if it is large, or the last
    3  put the progress, with the snapshot in it if it is small
    4  checkpoint(n): the commit point, fenced by the lease
    5  only after that was confirmed: delete what the commit *before* has made obsolete; at the end all that is

    Without a new record since the last commit only step 3 happens, and replaces its own last progress. So it is too
    while the source still delivers again what the snapshot has seen (not `redelivered`): it takes no checkpoint at a
    record that it has not delivered to this connection. At the end of a shard n is END. `prunable` windows are named
    no more (they are published, and too old to be amended here; their partials stay a while, as a partition that lags
    may still amend the window's entry). Raises what `checkpoint` raises.
    """
    partition, number = state.partition, END if ended else state.number
    touched = sorted(state.touched)
    known = (number, state.lineage) == (state.committed_number, state.committed_lineage)
    # Before the first record there is nothing to go on from: whoever starts then starts anew, and may find less.
    fresh = ended or (redelivered and not known and number != NOTHING_READ)
    snapshot, inside = "", b""  # its key, if it has one of its own; its bytes, if it goes into the progress

    for group in batched(touched, CALLS_MAX):
        yield from together(_partial_puts(state, store, group))
        for start in group:
            remains.partial(state, start)
            state.partials[start] = Partial_Name(state.lineage, state.touched[start])
    state.touched.clear()
    for start in state.closed_windows():
        del state.windows[start]
    if fresh:  # else the same key would get another map: pruning waits for the next record
        for start in prunable:
            state.partials.pop(start, None)
        inside = state.to_bytes()
        # a last progress that is lost is put again from the last snapshot
        if ended or len(inside) > SNAPSHOT_INSIDE_BYTES_MAX:
            snapshot = snapshot_key(partition, number, state.lineage)
            yield call(store.put, snapshot, inside)
            inside = b""

    progress = progress_of(state, number, ended)
    key = progress_key(partition, number, progress.watermark_ms, state.lineage, with_snapshot=bool(inside))
    if fresh or not remains.says(key):
        yield call(store.put, key, encode_progress(progress, inside))

    if fresh:
        yield call(checkpoint, number)
        state.committed_number, state.committed_lineage = number, state.lineage
        leftovers = yield from leftovers_steps(state, store, remains, touched, key)
        obsolete = remains.confirmed(snapshot or key, key, leftovers)
        if ended:
            obsolete += remains.replaced
    else:  # an equal checkpoint is not fenced; a higher watermark at the same number says all the lower did
        obsolete = remains.idle(key)
    if obsolete:
        yield call(store.delete, obsolete)


def _partial_puts(state: Partition_State, store: Store, starts: Iterable[int]) -> Iterator[Call]:
    for start in starts:
        name = Partial_Name(state.lineage, state.touched[start])
        yield call(store.put, partial_key(start, state.partition, name), state.windows[start].to_bytes())


def progress_of(state: Partition_State, number: str, ended: bool) -> Progress:
    return Progress(
        partition=state.partition,
        number=number,
        lineage=state.lineage,
        watermark_ms=state.published_watermark_ms,
        since_ms=state.since_ms,
        ended=ended,
        position_ms=state.position_ms,
        parents=state.parents,
        partials=dict(state.partials),
        counters=dict(state.counters),
        followed=state.followed,
        began_ms=state.began_ms,
        amendable_from_ms=state.amendable_from_ms,
    )


def restore_end_steps(store: Store, partition: str, timing: Timing) -> Steps[bool]:
    """Put the last progress record of an ended partition again, from its last snapshot: it was lost. Whether that could
    be done."""
    state = yield from _snapshot_steps(store, partition, END, timing)
    if state is None:
        return False
    progress = progress_of(state, END, ended=True)
    key = progress_key(partition, END, progress.watermark_ms, state.lineage)
    yield call(store.put, key, encode_progress(progress))
    return True


def recover_steps(shared: Shared, shard: Shard_Info, checkpoint: str | None, now_ms: int) -> Steps[Partition_State]:
    """The state in which to go on: that of the highest snapshot at or above the checkpoint (any is as true; records
    that it has seen are skipped), else that of a child of its parents, else a first start.

    Raises Unknown_Version, Superseded; a snapshot that is corrupt counts as lost.
    """
    store, timing, new_lineage = shared.store, shared.timing, shared.new_lineage()
    partition, parents = shard.shard_id, shard.parents
    if checkpoint is not None and checkpoint != END and not checkpoint.isdigit():
        checkpoint = NOTHING_READ  # torn: any snapshot is as true, and without one all that it stood for is lost
    state = yield from _snapshot_steps(store, partition, checkpoint, timing)
    if state is not None:
        yield from _catch_up_with_progress_steps(store, state)
        if state.first_vouched:  # somebody may have read on from here what the stream has trimmed since
            state.lineage = new_lineage
        return state

    def lost(number: str) -> Partition_State:
        """It was read once, and what was known is lost: vouch only for what comes now."""
        return Partition_State(
            partition,
            new_lineage,
            timing,
            parents,
            number=number,
            since_ms=now_ms,
            position_ms=now_ms,
            began_ms=now_ms,
            first_vouched=True,
            losses=[Loss(SNAPSHOT, now_ms)],
            committed_number=number if checkpoint is not None else "",  # what is below it is nothing to go on from
        )

    if checkpoint is not None:
        return lost(checkpoint)
    states = []
    for parent in parents:
        ended = yield from _ended_parent_steps(store, parent, timing)
        if ended is not None:
            states.append(ended)
        elif (yield call(store.list, progress_prefix(parent))):  # it was consumed, and its last snapshot is lost
            return lost(NOTHING_READ)
    if parents and len(states) == len(parents):
        return Partition_State.child_of(partition, states, new_lineage, timing)
    if states:  # of one of two parents nothing is known: it may be unread
        return lost(NOTHING_READ)
    return _first_start(shared, shard, now_ms, new_lineage)


def _first_start(shared: Shared, shard: Shard_Info, now_ms: int, new_lineage: str) -> Partition_State:
    """Of a partition without any past. A stream younger than any retention has lost nothing."""
    start, timing = shared.start, shared.timing
    first = First_Start(
        reach_ms=max(start.from_ms, start.born_ms),
        from_ms=start.from_ms,
        kept_ms=timing.vouch_from_ms(now_ms),
        sure_ms=timing.surely_kept_from_ms(now_ms),
    )
    trimmed = first.reach_ms < max(first.kept_ms, first.sure_ms)
    since_ms = first.since_ms if trimmed else start.from_ms
    # nothing was read yet: by the first read, the retention may have taken what arrived from here on
    position_ms = max(since_ms, start.born_ms)
    return Partition_State(
        shard.shard_id,
        new_lineage,
        timing,
        shard.parents,
        since_ms=since_ms,
        position_ms=position_ms,
        began_ms=position_ms,
        amendable_from_ms=start.adopted_ms,
        first_start=first if trimmed else None,
    )


def _snapshot_steps(
    store: Store, partition: str, at_least: str | None, timing: Timing
) -> Steps[Partition_State | None]:
    """Of the readable snapshots at or above a number those that cover most, and of these the highest.

    A worker that lost its lease may have left out records that the owner has not, or other ones; its snapshots, though
    higher, may name partials that the owner has gone past. So one whose partials are all there comes first, then
    coverage. One that vanished since it was listed is not lost: somebody has gone past it, so there is a higher one.
    That may have moved to the other of the two folders between their listings, so both are listed twice before there is
    none. Raises Superseded if they go on vanishing.
    """
    least = "" if at_least is None else sortable(at_least)
    for looked_before in range(LISTINGS_MAX):
        found: list[tuple[str, Partition_State]] = []
        vanished = False
        for number, key in (yield from _snapshot_keys_steps(store, partition)):
            if number < least:
                continue
            data = yield call(store.get, key)
            vanished |= data is None
            try:
                if data is not None:
                    found.append((number, _state_from(key, data, timing)))
            except Corrupt_State:
                continue  # as good as lost; another one may serve
        if len({state.lineage for _, state in found}) > 1:
            whole = []
            for pair in found:
                if (yield from _is_whole_steps(store, pair[1])):
                    whole.append(pair)
            found = whole or found
        if found:
            since_ms = min(state.since_ms for _, state in found)
            number, best = max(
                (pair for pair in found if pair[1].since_ms == since_ms), key=lambda pair: (pair[0], pair[1].lineage)
            )
            best.committed_number, best.committed_lineage = END if number == END else best.number, best.lineage
            return best
        if looked_before and not vanished:
            return None
    raise Superseded(
        f"snapshots of {partition} are deleted faster than they can be read: another worker is ahead of this one; its "
        "records will be read again"
    )


def _snapshot_keys_steps(store: Store, partition: str) -> Steps[list[tuple[str, str]]]:
    """(number, key) of everything that holds a snapshot of a partition."""
    alone = yield call(store.list, snapshots_prefix(partition))
    inside = yield call(store.list, progress_prefix(partition))
    found = [(parse_snapshot_key(item.key)[1], item.key) for item in alone]
    return found + [(parse_progress_key(item.key)[1], item.key) for item in inside if has_snapshot(item.key)]


def _state_from(key: str, data: bytes, timing: Timing) -> Partition_State:
    """Raises Corrupt_State, Unknown_Version."""
    return Partition_State.from_bytes(snapshot_inside(data, key) if has_snapshot(key) else data, timing, key)


def _is_whole_steps(store: Store, state: Partition_State) -> Steps[bool]:
    """Whether every partial that a snapshot names is there."""
    keys = [partial_key(start, state.partition, name) for start, name in state.partials.items()]
    for group in batched(keys, CALLS_MAX):
        listings = yield from together(call(store.list, key.rpartition("/")[0]) for key in group)
        if any(key not in {item.key for item in listed} for key, listed in zip(group, listings, strict=True)):
            return False
    return True


def _catch_up_with_progress_steps(store: Store, state: Partition_State) -> Steps[None]:
    """The published watermark and the position of the highest progress at the snapshot's number and lineage."""
    order = sortable(state.committed_number)
    keys = [
        listed.key
        for listed in (yield call(store.list, progress_prefix(state.partition)))
        if parse_progress_key(listed.key)[1] == order and parse_progress_key(listed.key)[3] == state.lineage
    ]
    for key in sorted(keys, reverse=True):
        data = yield call(store.get, key)
        try:
            if data is None:
                continue
            progress = decode_progress(data, key)
        except Corrupt_State:  # what it alone knew is lost, and will be learnt again at the tip
            continue
        state.published_watermark_ms = max(state.published_watermark_ms, progress.watermark_ms)
        state.position_ms = max(state.position_ms, progress.position_ms)
        return


def _ended_parent_steps(store: Store, parent: str, timing: Timing) -> Steps[Partition_State | None]:
    state = yield from _snapshot_steps(store, parent, END, timing)
    if state is not None:
        yield from _catch_up_with_progress_steps(store, state)
    return state


def load_steps(store: Store, state: Partition_State, starts: Sequence[int]) -> Steps[list[int]]:
    """Bring back the partials of windows that are not in memory, before records touch them. Those that could not be:
    a partial is torn, or gone.

    One that we named and that is gone was deleted by somebody who has gone past us: Superseded. Whoever does that has a
    snapshot to go on from; if nobody has, it is lost, as is one that is torn.
    """
    lost: list[int] = []
    missing = [start for start in starts if start in state.partials and start not in state.windows]
    for group in batched(missing, CALLS_MAX):
        keys = [partial_key(start, state.partition, state.partials[start]) for start in group]
        found = yield from together(call(store.get, key) for key in keys)
        for start, key, data in zip(group, keys, found, strict=True):
            if data is None and (yield from is_overtaken_steps(store, state)):
                raise Superseded(
                    f"{key} is gone: another worker has moved past this one; its records will be read again"
                )
            try:
                if data is not None:
                    state.windows[start] = Window.from_bytes(data, key)
                    continue
            except Corrupt_State:  # told as a loss
                pass
            lost.append(start)
    return lost


def is_overtaken_steps(store: Store, state: Partition_State) -> Steps[bool]:
    """Whether somebody who starts now would go on from another snapshot than we did. (If not, to give the partition up
    would only bring us here again.)"""
    best = yield from _snapshot_steps(store, state.partition, state.committed_number or None, state.timing)
    ours = state.committed_number, state.committed_lineage
    return best is not None and (best.committed_number, best.committed_lineage) != ours


def window_is_old(state: Partition_State, start: int) -> bool:
    """Whether no record can amend this window any more, by the records' own clock."""
    return (
        state.record_watermark_ms > BEGINNING_MS
        and start + WINDOW_MS + state.timing.keep_ms <= state.record_watermark_ms
    )
