"""An archive that stands for a stream: it has a name, and no shards."""

from sa_stream.config import SA__Config
from sa_stream.partitions import Shard_Info
from sa_stream.sources.archive import open_store
from sa_stream.sources.kinesis_reader import Stream_Info
from sa_stream.sources.source_clock import Source_Clock
from sa_stream.timing import DAY_MS


class Archive_Stream:
    """A Stream_Source. It was never created, and keeps its files for ever."""

    service = "S3"
    shards_changed = False

    def __init__(self, config: SA__Config) -> None:
        self.clock = Source_Clock()
        self._place, self._prefix = config.logs_bucket, config.logs_prefix

    def describe(self) -> Stream_Info:
        """Whether the archive answers. Raises Source_Error, Store_Unavailable."""
        store = open_store(self._place, 1, self.clock)
        store.page(self._prefix)
        name = store.name_of(self._prefix)
        return Stream_Info(name, name, 0, DAY_MS, 0)

    def list_shards(self) -> list[Shard_Info]:
        return []
