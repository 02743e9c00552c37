"""Log files in S3: a bucket and a prefix come in, objects go out, and can be read ahead in whichever process. Apart
from `log_files`, as loading boto3 takes longer than reading many a file.
"""

from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from sa_stream.archive.files import Stored
from sa_stream.errors import Source_Error
from sa_stream.sources.log_part import Log_Part
from sa_stream.sources.read_ahead import THREADS, Read_Ahead
from sa_stream.sources.s3_archive import S3_Archive


class Log_Object(Struct, frozen=True):
    """One log in a bucket."""

    bucket: str
    stored: Stored

    @property
    def name(self) -> str:
        return f"s3://{self.bucket}/{self.stored.key}"

    @property
    def size_bytes(self) -> int:
        return self.stored.size_bytes


class Buckets:
    """The buckets of a process, each with its client, which cannot go to another process."""

    def __init__(self) -> None:
        self._stores: dict[str, S3_Archive] = {}

    def __reduce__(self) -> tuple[type["Buckets"], tuple[()]]:
        return Buckets, ()

    def objects_below(self, place: str) -> list[Log_Object]:
        """By key, whatever the layout; `place`: bucket/prefix. Raises Source_Error, Store_Unavailable."""
        bucket, _, prefix = place.partition("/")
        objects: list[Log_Object] = []
        more, last = True, ""
        while more:
            page = self._store(bucket).page(prefix, last)
            more, last = page.more, page.objects[-1].key if page.objects else ""
            found = (stored for stored in page.objects if stored.size_bytes)  # consoles make empty ones for folders
            objects += (Log_Object(bucket, stored) for stored in found)
        if not objects:
            raise Source_Error(f"There is no object with content under s3://{place}")
        return objects

    def read_ahead(self, objects: Sequence[Log_Object]) -> list[Log_Part]:
        """Parts to be opened in their order; the first of each bucket are asked for at once."""
        places = dict.fromkeys((each.bucket for each in objects), 0)
        ahead = {}
        for bucket in places:
            stored = [each.stored for each in objects if each.bucket == bucket]
            ahead[bucket] = Read_Ahead(self._store(bucket), stored)
            ahead[bucket].ask()
        parts = []
        for each in objects:
            place = places[each.bucket]
            places[each.bucket] += 1
            parts.append(Log_Part(each.name, each.size_bytes, partial(ahead[each.bucket].open, place)))
        return parts

    def _store(self, bucket: str) -> S3_Archive:
        if bucket not in self._stores:
            self._stores[bucket] = S3_Archive(bucket, THREADS)
        return self._stores[bucket]
