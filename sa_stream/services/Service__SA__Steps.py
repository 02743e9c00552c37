"""Runs the steps over a stretch of time, in units that are small enough to stop between: a step and two times come in,
what was done and what remains goes out. Each unit may be run again, and in any order."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct
from osbot_utils.type_safe.Type_Safe import Type_Safe

from sa_stream.errors import Bad_Parameter, Config_Error, Conflict, Source_Error, Store_Unavailable
from sa_stream.rollups.periods import DAILY, HALF_HOUR, HOURLY, end_of, iso, start_of, time_key
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.services.CloudFront__Logs__Collector import CloudFront__Logs__Collector
from sa_stream.services.host_cache import cache_of
from sa_stream.services.Service__SA__Traffic import parse_number
from sa_stream.services.traffic_times import parse_time
from sa_stream.timing import DAY_MS

INGEST, CONSOLIDATE, AGGREGATE, ARCHIVE = "ingest", "consolidate", "aggregate", "archive"
STEPS = (INGEST, CONSOLIDATE, AGGREGATE, ARCHIVE)
SPAN_MS_MAX = 92 * DAY_MS
OLDER_THAN, OLDER_THAN_MAX = 30, 3_650
UNREAD_HOURS = 2  # of files that may not have been read yet
PLAN_FILES_MAX = 1_000  # of a plan that are named
_UNITS = {INGEST: HOURLY, CONSOLIDATE: HALF_HOUR, AGGREGATE: DAILY}

type Result = dict[str, Any]


class Asked(Struct, frozen=True):
    """One thing to do. starts_ms: where its units begin, oldest first; of `archive` none."""

    step: str
    starts_ms: tuple[int, ...] = ()
    older_than_days: int = 0
    dry_run: bool = True

    @property
    def units(self) -> int:
        return len(self.starts_ms) or 1


# fmt: off


class Service__SA__Steps(Type_Safe):
    """Drives a host's pipeline; without one every step is a Conflict."""

    sa_pipeline : Any                                        # an SA__Pipeline__Setup, or None

    # fmt: on

    def asked(self, step: str, words: Mapping[str, str], now_ms: int) -> Asked:
        """What a request wants done. Raises Bad_Parameter, Conflict."""
        if self.sa_pipeline is None:
            raise Conflict("There is no archive to work on: set SGRAPH_SEND__SA_LOGS_BUCKET to the bucket of your logs")
        if step == ARCHIVE:
            return _archive_asked(words)
        to_ms = parse_time(words["to"], "to") if "to" in words else now_ms
        from_ms = parse_time(words["from"], "from") if "from" in words else to_ms - DAY_MS
        if not 0 < to_ms - from_ms <= SPAN_MS_MAX:
            raise Bad_Parameter("from", "from must be before to, by no more than 92 days")
        return Asked(step, tuple(_starts(_UNITS[step], from_ms, min(to_ms, now_ms + 1))))

    def run(
        self,
        asked: Asked,
        now_ms: int,
        go_on: Callable[[int], bool] = lambda done: True,
    ) -> Result:
        """Unit after unit, while `go_on` (which hears how many are done) says so; at least one.

        {step, done, total, remaining: {from, to} or null, result}. Raises what the steps raise.
        """
        began_ms, results = now_ms, list[Result]()
        if asked.step == ARCHIVE:
            answer = {"step": ARCHIVE, "done": 1, "total": 1, "remaining": None, "result": self._archive(asked, now_ms)}
        else:
            for start_ms in asked.starts_ms:
                if results and not go_on(len(results)):
                    break
                results.append(self._unit(asked.step, start_ms, now_ms))
            left = asked.starts_ms[len(results) :]
            end_ms = end_of(_UNITS[asked.step], asked.starts_ms[-1]) if left else 0
            answer = {
                "step": asked.step,
                "done": len(results),
                "total": len(asked.starts_ms),
                "remaining": {"from": iso(left[0]), "to": iso(end_ms)} if left else None,
                "result": results,
            }
        self._note(asked.step, began_ms, answer)
        return answer

    def last_runs(self) -> dict[str, Result | None]:
        """What each step did last, by anybody, as far as somebody noted it. Raises Store_Unavailable."""
        if self.sa_pipeline is None:
            return dict.fromkeys(STEPS)
        cache = cache_of(self.sa_pipeline.send_cache_client)
        return {step: cache.retrieve_entry(NS_SA_AGGREGATE, f"status/run-{step}") for step in STEPS}

    def unprocessed_files(self, now_ms: int) -> Result | None:
        """How many files of the last hours no ingestion has read yet; null where that cannot be told now."""
        if self.sa_pipeline is None:
            return None
        try:
            return {"hours": UNREAD_HOURS, **self._ingestion(UNREAD_HOURS).unread(now_ms)}
        except (Source_Error, Store_Unavailable, Config_Error):
            return None

    def _unit(self, step: str, start_ms: int, now_ms: int) -> Result:
        key = time_key(_UNITS[step], start_ms)
        if step == CONSOLIDATE:
            found = self.sa_pipeline.consolidation.execute(key, now_ms).json()
            return {"time_key": key, "total_requests": found["total_requests"]}
        if step == AGGREGATE:
            found = self.sa_pipeline.aggregation.execute(DAILY, key, now_ms).json()
            return {"time_key": key, "status": found["status"], "total_requests": found["total_requests"]}
        found = self._ingestion(hours=1).execute("", now_ms, end_of(HOURLY, start_ms)).json()
        # lines that are no records, and files that could not be read
        errors = sum(error.get("records", 1) for error in found["errors"])
        return {"time_key": key, "records_parsed": found["records_parsed"], "errors": errors}

    def _ingestion(self, hours: int) -> Any:
        """The step, looking back this far: the pipeline's own collector is everybody's."""
        ingestion, given = self.sa_pipeline.ingestion, self.sa_pipeline.logs_collector
        ingestion.logs_collector = CloudFront__Logs__Collector(
            logs_bucket=given.logs_bucket, logs_prefix=given.logs_prefix, region=given.region, lookback_hours=hours
        ).use(given.archive())
        return ingestion

    def _archive(self, asked: Asked, now_ms: int) -> Result:
        plan = self.sa_pipeline.archive.execute(asked.older_than_days, now_ms)
        return {
            "dry_run": True,
            "move": plan["move"][:PLAN_FILES_MAX],
            "left": plan["left"][:PLAN_FILES_MAX],
            "move_total": len(plan["move"]),
            "left_total": len(plan["left"]),
        }

    def _note(self, step: str, began_ms: int, answer: Result) -> None:
        note = {"step": step, "began": iso(began_ms), **{name: answer[name] for name in ("done", "total", "remaining")}}
        cache_of(self.sa_pipeline.send_cache_client).store_entry(NS_SA_AGGREGATE, f"status/run-{step}", note)


def _archive_asked(words: Mapping[str, str]) -> Asked:
    older_than = parse_number(words, "older_than", OLDER_THAN, OLDER_THAN_MAX)
    dry_run = words.get("dry_run", "true")
    if dry_run not in ("true", "false"):
        raise Bad_Parameter("dry_run", "dry_run is neither true nor false")
    if dry_run == "false":
        raise Conflict(
            "Files are moved by the command line alone, which keeps a manifest of them in the state store; here "
            "dry_run=true says which may go"
        )
    return Asked(ARCHIVE, older_than_days=older_than)


def _starts(period: str, from_ms: int, to_ms: int) -> Iterator[int]:
    start_ms = start_of(period, from_ms)
    while True:
        yield start_ms
        start_ms = end_of(period, start_ms)
        if start_ms >= to_ms:
            return
