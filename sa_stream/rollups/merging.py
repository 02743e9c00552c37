"""Merges what an entry is made of: keys of mergeable windows in the state store come in, their sum goes out.

A few are read and added at a time, so that memory does not grow with the shards of the stream. A partial that vanished
was replaced while we came to it: the newest one of its partition has it all, and the merge goes on with that.
"""

from collections.abc import Sequence
from itertools import batched

from msgspec import Struct, field

from sa_stream.commits.keys import partial_key
from sa_stream.commits.operations import Steps, call, together
from sa_stream.commits.ports import Store
from sa_stream.errors import Corrupt_State
from sa_stream.rollups.entry import merge
from sa_stream.rollups.finality import Stream_View
from sa_stream.rollups.progress_reader import Progress_Reader
from sa_stream.rollups.slots import as_part
from sa_stream.rollups.wanted import Json_List, Part, with_newer
from sa_stream.windows.window import Window

MERGED_AT_ONCE = 16
READS_MAX = 3  # of one partial, while it is replaced


class Merged(Struct):
    """sources  as wanted, with the newer names of partials that were replaced meanwhile
    window   the sum; None if a part is not to be had, which is never taken for zero: `failed` is that one, with others
             that were looked at and are to be published anew too, and `error` what is wrong with its bytes (None: it is
             gone)
    """

    sources: Json_List
    window: Window | None = None
    failed: list[Part] = field(default_factory=list)
    error: Corrupt_State | None = None


class Merger(Struct, frozen=True):
    """Reads and adds up the parts of an entry."""

    store: Store
    progress_reader: Progress_Reader
    stream: Stream_View

    def steps(self, period: str, start_ms: int, parts: Sequence[Part], sources: Json_List) -> Steps[Merged]:
        """The sum of at least one part."""
        result = Merged(sources)
        for group in batched(parts, MERGED_AT_ONCE):
            windows = [] if result.window is None else [result.window]
            keys = [part.key for part in group if part.key]
            found = dict(zip(keys, (yield from together(call(self.store.get, key) for key in keys)), strict=True))
            for part in group:
                data = found.get(part.key)
                if data is None and part.partition:
                    part, data = yield from self._newer(start_ms, part, result)
                if data is None:
                    result.failed.append(part)
                    if not part.owner:
                        break
                elif not result.failed:
                    try:
                        windows.append(as_part(period, Window.from_bytes(data, part.key)))
                    except Corrupt_State as error:  # one broken object must not keep all others from being published
                        result.failed, result.error = [part], error
                        break
            if result.failed:
                result.window = None
                return result
            result.window = merge(period, start_ms, windows)
        return result

    def _newer(self, window_ms: int, part: Part, result: Merged) -> Steps[tuple[Part, bytes | None]]:
        """The partial by which this one was replaced. Not one of another lineage or coverage: what the stream's view
        says of the window would not hold for it."""
        own = self.stream.progress.get(part.partition)
        for _ in range(READS_MAX):
            newer = yield from self.progress_reader.one_steps(part.partition)
            name = None if newer is None else newer.partials.get(window_ms)
            if own is None or newer is None or name is None or newer.since_ms != own.since_ms:
                break
            if own.partials.get(window_ms) is None or name.lineage != own.partials[window_ms].lineage:
                break
            part = Part(partial_key(window_ms, part.partition, name), part.gone, partition=part.partition)
            data: bytes | None = yield call(self.store.get, part.key)
            if data is not None:
                result.sources = with_newer(result.sources, part.partition, name)
                return part, data
        return part, None
