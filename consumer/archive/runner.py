"""Follows the archive: each window is computed from its files once they had time to land, and again when another of
them appears. The same stores, entries and health as with a stream; the lag is that of the newest window.
"""

from consumer.worker.application import Application
from consumer.worker.course import Course
from consumer.worker.publisher import shared_publish_s
from sa_stream.commits.decisions import claim_runner
from sa_stream.log import COMMITTED, Log
from sa_stream.rollups.entry import S3
from sa_stream.rollups.passes import Pass_Result
from sa_stream.timing import WINDOW_MS, Moment, right_now

log = Log("runner")

TICK_S = 0.25


class Archive_Runner:
    """`run` follows the archive until `stop` is called or something fails that no later try can mend (it raises that).
    Any number may run on one state store.

    Raises Source_Error, Config_Error, In_Use, Unknown_Version.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._pen = application.health.shard(S3)
        self._computed_to_ms: int | None = None
        self._course = Course(application)

    def stop(self) -> None:
        """Publish once more, and return from `run`. From any thread or signal handler."""
        self._course.stop.set()

    def run(self) -> None:
        application, course = self._application, self._course
        info = application.describe(course.stop)
        if info is None:
            return
        application.state.check()
        publish_s, _ = shared_publish_s(application.config.commit_interval_s)  # what is computed has news at any time
        application.open(info, (publish_s, publish_s), on_pass=self._on_pass, looked=self._looked)
        claim_runner(application.state, "archive")
        application.start_publishing()
        with course.under_way(self._shut_down):
            while course.goes_on:
                course.stop.wait(TICK_S)
                course.look(right_now())
        course.raise_failure()

    def _on_pass(self, result: Pass_Result) -> None:
        """In the publisher's thread."""
        computed = [window_ms for window_ms, known in result.to_repair.items() if known is not None]
        if computed:
            self._computed_to_ms = max(computed) + WINDOW_MS
            self._pen.watermark(self._computed_to_ms)

    def _looked(self, now: Moment, why: str | None) -> None:
        """In the repairer's thread."""
        self._pen.unreadable(now, why)
        computed_to_ms = self._computed_to_ms or self._application.start.from_ms
        self._pen.read(now, max(0, self._application.now().wall_ms - computed_to_ms), None)

    def _shut_down(self) -> None:
        finished = self._course.failure is None
        self._application.stop_publishing(last_pass=finished)
        if finished:
            log.tell(COMMITTED, "everything that was computed is published")
