"""The seed's first step: log files are read, their records counted, and what came of each file is kept."""

from collections import Counter
from collections.abc import Iterable
from itertools import batched
from typing import Any

import msgspec
from osbot_utils.type_safe.Type_Safe import Type_Safe

from sa_stream.rollups.periods import utc
from sa_stream.schemas.namespaces import NS_SA_RAW
from sa_stream.schemas.Schema__SA__Ingestion__Result import Schema__SA__Ingestion__Result
from sa_stream.services.CloudFront__Logs__Collector import CloudFront__Logs__Collector
from sa_stream.services.host_cache import cache_of
from sa_stream.storage.Send__Cache__Client import Send__Cache__Client
from sa_stream.timing import HOUR_MS, WINDOW_MS, wall_clock_ms

FILES_AT_ONCE = 200
_FUTURE = "future"  # of records.columns.REASONS, which loads what services do without
BATCH_RECORDS = 5_000  # the cache service takes some 80 ms for a body of this size

type Result = dict[str, Any]

# fmt: off


class Service__SA__Log__Ingestion(Type_Safe):
    """Results go to `sa-cloudfront-raw`, one a file, under `2026-02-16/14-30/HASH`: the half hour of its oldest record,
    and a hash of what it is. A file whose result is there is not read again, unless it could not be
    read, or had records that were still to come.

    store_raw  its records too, under `…/HASH-0` and so on, without query strings, addresses, request ids and agents
    """

    send_cache_client : Any                                  # any object with a `cache_client`
    logs_collector    : CloudFront__Logs__Collector
    store_raw         : bool = False

    # fmt: on

    def execute(
        self, log_file_key: str = "", now_ms: int | None = None, until_ms: int | None = None
    ) -> Schema__SA__Ingestion__Result:
        """log_file_key: the one file to read, or empty: every file that may have records of the collector's last
        `lookback_hours` before `until_ms` (None: now); then the result is the sum of theirs, and its key what all of
        theirs begin with.

        `errors` has {reason, records} for lines that are no records, and {file, error} for what could not be read.
        Raises Config_Error, Source_Error (the bucket is missing or forbidden), Store_Unavailable (S3 or the cache
        service does not answer; the same call may succeed later).
        """
        cache, archive = cache_of(self.send_cache_client), self.logs_collector.archive()
        now_ms = wall_clock_ms() if now_ms is None else now_ms
        until_ms = now_ms if until_ms is None else until_ms
        from_ms = until_ms - int(self.logs_collector.lookback_hours) * HOUR_MS
        files = [archive.file(log_file_key)] if log_file_key else archive.files_between(from_ms, until_ms)
        results, unread = [], []
        for file in files:
            known = _whole(cache.retrieve_entry(NS_SA_RAW, _key(file)))
            if known is not None and self._is_done(known):
                results.append(known)
            else:
                unread.append(file)
        if unread:
            intake = archive.intake(unread[0].oldest.from_ms)
            for some in batched(unread, 1 if self.store_raw else FILES_AT_ONCE):
                results += self._ingest(cache, archive, some, intake, now_ms)
        if log_file_key:
            return _schema(results[0])
        return _schema(_sum(results, archive.base))

    def unread(self, now_ms: int) -> dict[str, int]:
        """{files: of the collector's last `lookback_hours`, unread: those whose result is not kept yet}. Raises as
        `execute` does."""
        cache, archive = cache_of(self.send_cache_client), self.logs_collector.archive()
        files = archive.files_between(now_ms - int(self.logs_collector.lookback_hours) * HOUR_MS, now_ms)
        unread = sum(cache.retrieve_entry(NS_SA_RAW, _key(file)) is None for file in files)
        return {"files": len(files), "unread": unread}

    def _is_done(self, result: Result) -> bool:
        # what was ahead of the clock then need not be so now
        read = all(error["reason"] != _FUTURE for error in result["errors"])
        return read and (not self.store_raw or result["records_stored"] > 0 or result["records_parsed"] == 0)

    def _ingest(self, cache: Send__Cache__Client, archive: Any, files: Any, intake: Any, now_ms: int) -> list[Result]:
        reads, reading = archive.read(files, intake, now_ms)
        stored = 0
        if self.store_raw:
            stored = _store_events(cache, _key(files[0]), archive.events(reading, intake))
        for _ in reading:
            pass  # the files hear how many records they have
        results = []
        for read in reads:
            key = _key(read.stored)
            errors: list[Result] = [{"reason": reason, "records": n} for reason, n in sorted(read.invalid.items())]
            if read.error is not None:
                errors.append({"file": read.name, "error": read.error})
            result = {
                "log_file_key": read.stored.key,
                "records_parsed": read.records - sum(read.invalid.values()),
                "records_stored": stored,
                "cache_prefix": f"{NS_SA_RAW}/{key.rpartition('/')[0]}",
                "errors": errors,
            }
            cache.store_entry(NS_SA_RAW, key, result)  # after its records: where it is, they are
            results.append(result)
        return results


def _store_events(cache: Send__Cache__Client, key: str, events: Iterable[dict[str, str]]) -> int:
    stored = 0
    for number, batch in enumerate(batched(events, BATCH_RECORDS)):
        cache.store_entry(NS_SA_RAW, f"{key}-{number}", {"records": list(batch)})
        stored += len(batch)
    return stored


def _key(file: Any) -> str:
    """Of a file's result: the half hour of its oldest record, and a hash of where it is and which version."""
    import xxhash

    name = xxhash.xxh3_64_hexdigest(f"{file.name}\n{file.etag}".encode())
    return f"{utc(file.oldest.from_ms // WINDOW_MS * WINDOW_MS):%Y-%m-%d/%H-%M}/{name}"


def _sum(results: list[Result], base: str) -> Result:
    reasons: Counter[str] = Counter()
    errors: list[Result] = []
    for result in results:
        for error in result["errors"]:
            if "error" in error:
                errors.append(error)
            else:
                reasons[error["reason"]] += error["records"]
    return {
        "log_file_key": base,
        "records_parsed": sum(result["records_parsed"] for result in results),
        "records_stored": sum(result["records_stored"] for result in results),
        "cache_prefix": NS_SA_RAW,
        "errors": [{"reason": reason, "records": n} for reason, n in sorted(reasons.items())] + errors,
    }


class _Dropped(msgspec.Struct):
    reason: str
    records: int


def _whole(result: Result | None) -> Result | None:
    """None for the result of a file that could not be read, and for one that is damaged: either is read again."""
    try:
        if result is not None:
            _schema(result)
            msgspec.convert(result["errors"], list[_Dropped])
    except (KeyError, TypeError, ValueError):
        return None
    return result


def _schema(result: Result) -> Schema__SA__Ingestion__Result:
    return Schema__SA__Ingestion__Result(**{name: value for name, value in result.items() if name != "cache_key"})
