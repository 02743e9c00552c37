"""Reads the first records of a new stream, so that they tell (or contradict) how records are to be read before any of
them is aggregated."""

import time

from consumer.worker.application import Application
from sa_stream.errors import Field_List_Error, Shard_Gone
from sa_stream.health.notebook import Health
from sa_stream.partitions import NOTHING_READ
from sa_stream.records.decoder import unpacked
from sa_stream.records.field_finder import First_Records
from sa_stream.sources.kinesis_reader import Shard_Reader
from sa_stream.timing import moment

LOOK_S = 0.2  # how often the first records are looked for
DOUBT_S = 10.0  # how long a few odd first records may be followed by better ones


class Field_Scout:
    """Looks at the first records of every shard until the field list is decided."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._health: Health = application.health
        self._readers: dict[str, Shard_Reader] = {}
        self._records = First_Records()
        self._records_since_s = 0.0

    def decided(self) -> bool:
        """Whether the field list is settled, if need be by looking once more. A few odd records may come first: they
        are doubted until there are enough, or nothing better has come for a while.

        Raises Field_List_Error, Source_Error, Store_Unavailable (look again).
        """
        fields = self._application.fields
        if fields.checked:
            return True
        if not self._records.enough:
            self._read()
        if not self._records.rows and not self._records.enough:
            return False
        self._records_since_s = self._records_since_s or time.monotonic()
        try:
            fields.decide(self._records)
        except Field_List_Error:
            if self._records.enough or time.monotonic() - self._records_since_s > DOUBT_S:
                raise
            return False
        for shard_id in self._readers:
            self._health.forget(shard_id)  # those that are read by others, or not yet, are nobody's business here
        self._readers.clear()
        self._records = First_Records()
        return True

    def _read(self) -> None:
        """One read of every shard. A stream may answer often before it comes to a shard's first record, so each read
        goes on where the last one stopped."""
        application = self._application
        if not self._readers:
            for info in application.list_shards():
                start = application.position(NOTHING_READ)
                self._readers[info.shard_id] = Shard_Reader(application.reader, info.shard_id, start)
        for shard_id, reader in list(self._readers.items()):
            now = moment()
            if reader.wait_ms(now):
                continue
            try:
                batch = application.look_at(reader, now)
            except Shard_Gone:  # trimmed since it was listed: it has no records to learn from
                del self._readers[shard_id]
                continue
            if batch is not None:
                shard = self._health.shard(shard_id, now)
                if not batch.payloads:  # an empty stream is ready; one with records is, once they are really read
                    shard.read(now, batch.millis_behind_latest, None)
                for payload in batch.payloads:
                    if not self._records.enough:
                        self._records.add(unpacked(payload))
