"""Steps that run behind their request, in a program that goes on after its answer: one worker thread, and a queue that
ends."""

import itertools
import queue
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from sa_stream.errors import Conflict, Not_There, Request_Error, SA_Stream_Error, Store_Unavailable
from sa_stream.log import JOB_FAILED, Log
from sa_stream.rollups.periods import iso
from sa_stream.services.Service__SA__Steps import Asked, Service__SA__Steps
from sa_stream.timing import wall_clock_ms

WAITING_MAX = 16
REMEMBERED_MAX = 100
WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"

log = Log("jobs")


class Job(Struct):
    """state: waiting, running, done or failed."""

    id: str
    asked: Asked
    asked_ms: int
    state: str = WAITING
    done: int = 0
    result: Mapping[str, Any] | None = None
    error: str | None = None

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "step": self.asked.step,
            "state": self.state,
            "asked": iso(self.asked_ms),
            "progress": {"done": self.done, "total": self.asked.units},
            "result": self.result,
            "error": self.error,
        }


class Service__SA__Jobs(Struct):
    """The worker starts with the first job, and ends with the process: a step that is cut off may be run again."""

    steps: Service__SA__Steps
    _jobs: OrderedDict[str, Job] = field(default_factory=OrderedDict)
    _queue: "queue.Queue[Job]" = field(default_factory=lambda: queue.Queue(WAITING_MAX))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _worker: threading.Thread | None = None

    def start(self, step: str, words: Mapping[str, str], now_ms: int) -> dict[str, Any]:
        """Queue a job; what it looks like now. Raises Bad_Parameter, Conflict (the same one goes on), Store_Unavailable
        (the queue is full)."""
        asked = self.steps.asked(step, words, now_ms)
        with self._lock:
            for job in self._jobs.values():
                if job.asked == asked and job.state in (WAITING, RUNNING):
                    raise Conflict(f"Job {job.id} does this already")
            job = Job(f"{now_ms}-{next(self._numbers)}", asked, now_ms)
            try:
                self._queue.put_nowait(job)
            except queue.Full:
                raise Store_Unavailable("Too many jobs wait already: try again when some are done") from None
            self._jobs[job.id] = job
            while len(self._jobs) > REMEMBERED_MAX:
                self._jobs.popitem(last=False)
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="jobs", daemon=True)
                self._worker.start()
        return job.shown()

    def job(self, job_id: str) -> dict[str, Any]:
        """Raises Not_There."""
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise Not_There("There is no such job: they are remembered until the program ends, the last 100", "id")
        return job.shown()

    def listed(self) -> list[dict[str, Any]]:
        """Newest first, without results."""
        with self._lock:
            jobs = list(self._jobs.values())
        return [{**job.shown(), "result": None} for job in reversed(jobs)]

    def _work(self) -> None:
        while True:
            job = self._queue.get()
            job.state = RUNNING

            def go_on(done: int, job: Job = job) -> bool:
                job.done = done
                return True

            try:
                job.result = self.steps.run(job.asked, wall_clock_ms(), go_on)
                job.state, job.done = DONE, job.asked.units
            except Request_Error as error:
                job.state, job.error = FAILED, str(error)
            except Exception as error:  # noqa: BLE001  # the worker goes on with the next one
                log.tell(
                    JOB_FAILED, f"job {job.id} ({job.asked.step}) failed: {error}", job=job.id, error=_foreign(error)
                )
                job.state, job.error = FAILED, "It failed: the log of this program says why"


def _foreign(error: Exception) -> Exception | None:
    """With a traceback only where nobody foresaw it."""
    return None if isinstance(error, SA_Stream_Error) else error
