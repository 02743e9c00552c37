"""What has happened in a demo so far: passes of the reconciler come in, what there is to show and to tell comes out."""

import time
from typing import Any

from msgspec import Struct, field

from sa_stream.rollups.passes import Pass_Result
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.storage.Send__Cache__Client import Send__Cache__Client


class Story(Struct):
    """What has happened so far, for the view and the last words."""

    began_s: float = field(default_factory=time.monotonic)
    filled_s: float = 0.0
    first_final_s: float = 0.0
    all_final_s: float = 0.0
    stream_records: int = 0
    until_ms: int = 0
    final: dict[str, int] = field(default_factory=dict)  # key -> requests, in the order in which they became final
    newest: dict[str, Any] | None = None  # the newest final entry
    news: list[str] = field(default_factory=list)  # of this moment, for plain lines

    def since_start_s(self) -> float:
        return time.monotonic() - self.began_s

    def note(self, cache: Send__Cache__Client, result: Pass_Result) -> None:
        """Write down what a round of publishing did."""
        for written in result.written:
            revised = f", revision {written.revision}" if written.revision else ""
            if written.status == "final" or written.cache_key.startswith("30min"):
                self.news.append(f"{written.cache_key} {written.status}: {written.total_requests:,} requests{revised}")
            if written.status == "final":
                self.final[written.cache_key] = written.total_requests
                self.first_final_s = self.first_final_s or self.since_start_s()
                if written.cache_key.startswith("30min") and (
                    self.newest is None or written.cache_key >= self.newest["cache_key"]
                ):
                    self.newest = cache.retrieve_entry(NS_SA_AGGREGATE, written.cache_key)
