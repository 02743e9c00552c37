"""The seed's reader of real-time logs in S3: the records, or a summary, of the last hours."""

# mypy: disable-error-code="type-arg"

import os
from typing import Any

from osbot_utils.type_safe.primitives.core.Safe_UInt import Safe_UInt
from osbot_utils.type_safe.Type_Safe import Type_Safe

from sa_stream.config import SA__Config
from sa_stream.errors import Config_Error
from sa_stream.log import FILE_LEFT, Log
from sa_stream.records.fields import SEED
from sa_stream.rollups.periods import iso
from sa_stream.timing import HOUR_MS, wall_clock_ms

CF_LOG_FIELDS = list(SEED)  # the keys of a record's dictionary

LOGS_PREFIX = "cloudfront-realtime"

log = Log("archive")

# fmt: off


class CloudFront__Logs__Collector(Type_Safe):
    """Each file is read once, and its field list is found by its records (FIELDS).

    `errors` has a sentence for each file of the last call that could not be read, or not to its end. `collect` and
    `collect_summary` raise Source_Error (bucket or permission missing), Store_Unavailable (S3 does not answer),
    Config_Error (a setting that cannot work).
    """

    logs_bucket    : str                             # plain: Safe_Str__Id would rewrite `.` and `/`
    logs_prefix    : str       = LOGS_PREFIX
    lookback_hours : Safe_UInt = 24
    region         : str       = 'eu-west-2'
    errors         : list

    # fmt: on

    def setup(self) -> "CloudFront__Logs__Collector":
        """Check what this program's environment says. The bucket is looked into when it is first needed.

        Raises Config_Error.
        """
        self._config()
        return self

    def collect(self, now_ms: int | None = None) -> list[dict[str, str]]:
        """The records of the last `lookback_hours`: CF_LOG_FIELDS -> value, '' where it is missing (`-`).

        Lines that are no records, and duplicates, are left out; so are query strings and addresses in values.
        """
        from sa_stream.bounded.events import Events  # loads polars, as everything that reads does

        from_ms, until_ms = self._span(now_ms)
        archive = self.archive()
        intake = archive.intake(from_ms)
        events = Events(from_ms, until_ms, intake.rules)
        reads, reading = archive.read_between(from_ms, until_ms, intake)
        found = [event for read in reading for event in events.of(read)]
        self._tell(reads)
        return found

    def collect_summary(self, now_ms: int | None = None) -> dict[str, Any]:
        """What the last `lookback_hours` were like; numbers as in an entry (docs/entries.md)."""
        from sa_stream.bounded.summary import summarize  # loads polars

        from_ms, until_ms = self._span(now_ms)
        archive = self.archive()
        intake = archive.intake(from_ms)
        reads, reading = archive.read_between(from_ms, until_ms, intake)
        summary = summarize(reading, from_ms, until_ms, intake)
        self._tell(reads)
        entry = summary.entry or {}
        return {
            "total_records": entry.get("total_requests", 0),
            "log_files_read": sum(read.error is None for read in reads),
            "time_range": f"{iso(summary.first_ms)} to {iso(summary.last_ms)}" if entry else "",
            "status_breakdown": entry.get("status_breakdown", {}),
            "edge_locations": sorted(entry.get("edge_distribution") or ()),
            "cache_hit_rate": entry.get("cache_hit_rate", 0.0),
            "top_paths": [
                {"path": top["path"], "count": top["count"]} for top in entry.get("top_paths") or ()
            ],
            "errors": list(self.errors),
        }  # fmt: skip

    def archive(self) -> Any:
        """The Log_Archive of this bucket, which all steps read. Raises as `collect` does."""
        if getattr(self, "_archive", None) is None:
            from sa_stream.services.log_archive import Log_Archive  # loads polars and boto3

            self.use(Log_Archive.of_bucket(self._config(), self.region))
        return self._archive

    def use(self, archive: Any) -> "CloudFront__Logs__Collector":
        """Read this Log_Archive instead of the bucket."""
        self._archive = archive  # with an underscore, so that it is no field of Type_Safe's
        return self

    def _config(self) -> SA__Config:
        config = SA__Config.from_env(os.environ)
        config.logs_bucket = self.logs_bucket or config.logs_bucket
        if self.logs_prefix != LOGS_PREFIX:
            config.logs_prefix = self.logs_prefix
        config.source = "s3"  # for a step there is no other
        if not config.logs_bucket:
            raise Config_Error(
                "There are no logs to read: set SGRAPH_SEND__SA_LOGS_BUCKET to the bucket of your CloudFront logs."
            )
        return config

    def _span(self, now_ms: int | None) -> tuple[int, int]:
        until_ms = wall_clock_ms() if now_ms is None else now_ms
        return until_ms - int(self.lookback_hours) * HOUR_MS, until_ms

    def _tell(self, reads: list[Any]) -> None:
        self.errors = [read.error for read in reads if read.error is not None]
        for error in self.errors:
            log.tell(FILE_LEFT, error)
