"""The course of a run, whoever reads the shards: what stops it and what fails it come in, whether it goes on comes out.
After each poll it also looks at what is nobody's shard: our clock, readiness, the publisher."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from consumer.worker.application import Application
from consumer.worker.clock_watch import Clock_Watch
from consumer.worker.readiness_log import Readiness_Log
from sa_stream.timing import Now

SHUTDOWN_S = 18.0  # with what is left to do then, 20: ECS sends SIGKILL after 30 unless it is told otherwise
LAST_PASS_S = 2.0  # of it, for publishing what was committed last


class Course:
    """stop     set when the run is to end in order; from any thread or signal handler
    failure  what ends it instead: an error that no later try can mend. Whoever meets one in a thread writes it here
    """

    def __init__(self, application: Application) -> None:
        self.stop = threading.Event()
        self.failure: BaseException | None = None
        self._application = application
        self._readiness_log = Readiness_Log(application.health)
        self._clock_watch = Clock_Watch(application.health, application.source.clock)

    @property
    def goes_on(self) -> bool:
        return not self.stop.is_set() and self.failure is None

    def look(self, now: Now, *failures: BaseException | None) -> None:
        """With every poll, or a few times a second. failures: of the threads that read."""
        every = *failures, self._application.publisher.failure, self._application.failure
        self.failure = self.failure or next((failure for failure in every if failure is not None), None)
        self._clock_watch.look(now)
        self._readiness_log.tick(now.moment)

    @contextmanager
    def under_way(self, shut_down: Callable[[], None]) -> Iterator[None]:
        """Shut down at the end of this block, however it comes. What fails in the middle of something commits nothing
        more: `failure` is set by then."""
        try:
            yield
        except BaseException as error:
            self.failure = error
            raise
        finally:
            shut_down()

    def raise_failure(self) -> None:
        """After the end, once everything is given back: raises what ended the run, if it was not asked to stop."""
        if self.failure is not None:
            raise self._application.explained(self.failure)
