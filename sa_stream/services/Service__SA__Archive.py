"""The seed's fourth step: which log files may go where they cost less."""

from typing import Any

from osbot_utils.type_safe.Type_Safe import Type_Safe

from sa_stream.rollups.periods import HALF_HOUR, cache_key, iso
from sa_stream.services.CloudFront__Logs__Collector import CloudFront__Logs__Collector
from sa_stream.services.host_cache import cache_of
from sa_stream.timing import DAY_MS, wall_clock_ms

# fmt: off


class Service__SA__Archive(Type_Safe):
    """It says what may go, and touches nothing: what moves files writes manifests into a state store, and that is for
    the command line."""

    send_cache_client : Any                                  # any object with a `cache_client`
    logs_collector    : CloudFront__Logs__Collector

    # fmt: on

    def execute(self, older_than_days: int = 30, now_ms: int | None = None) -> dict[str, Any]:
        """{move: [key, …], left: [{file, reason, windows}, …]} of the files of that day, UTC. A file may go if all half
        hours that it may have records of are final in the cache, and say what their files say.

        Raises as the other steps do.
        """
        from sa_stream.bounded.archived import is_verified  # loads polars, as everything that reads does
        from sa_stream.bounded.archiving import plan_archive  # type: ignore[import-not-found,unused-ignore]
        from sa_stream.rollups.readable import entry_in

        cache, archive = cache_of(self.send_cache_client), self.logs_collector.archive()
        now_ms = wall_clock_ms() if now_ms is None else now_ms
        until_ms = now_ms // DAY_MS * DAY_MS - older_than_days * DAY_MS
        files = archive.files_between(until_ms - DAY_MS, until_ms)
        verified = set()
        for start_ms in sorted({start_ms for file in files for start_ms in file.oldest.starts(archive.settle_ms)}):
            shown = entry_in(cache, cache_key(HALF_HOUR, start_ms))
            if is_verified(shown, archive.period(HALF_HOUR, start_ms, now_ms)):
                verified.add(start_ms)
        plan = plan_archive(files, until_ms, archive.settle_ms, verified, lambda start_ms, file: start_ms in verified)
        left = [
            {"file": left.file.key, "reason": left.reason, "windows": [iso(start_ms) for start_ms in left.windows]}
            for left in plan.left
        ]
        return {"move": [file.key for file in plan.move], "left": left}
