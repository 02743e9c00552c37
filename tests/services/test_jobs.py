"""Jobs: one after the other, each seen from its start to its end; and what is too much, or the same twice."""

import threading
import time
from typing import Any

import pytest

from sa_stream.errors import Bad_Parameter, Conflict, Not_There, Source_Error, Store_Unavailable
from sa_stream.rollups.periods import iso
from sa_stream.services.Service__SA__Jobs import REMEMBERED_MAX, WAITING_MAX, Service__SA__Jobs
from sa_stream.services.Service__SA__Steps import Service__SA__Steps
from sa_stream.timing import HOUR_MS
from tests.services.place import BEGIN_MS, NOW_MS, Place

SPAN = {"from": iso(BEGIN_MS), "to": iso(BEGIN_MS + HOUR_MS)}


def jobs_of(place: Place) -> Service__SA__Jobs:
    return Service__SA__Jobs(Service__SA__Steps(sa_pipeline=place.pipeline()))


def ended(jobs: Service__SA__Jobs, job_id: str) -> dict[str, Any]:
    deadline_s = time.monotonic() + 30
    while (found := jobs.job(job_id))["state"] not in ("done", "failed"):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return found


def test_a_job_does_what_the_step_does_and_says_how_far_it_is():
    place = Place()
    jobs = jobs_of(place)
    started = jobs.start("consolidate", SPAN, NOW_MS)
    assert (started["step"], started["progress"]["total"]) == ("consolidate", 2)
    found = ended(jobs, started["id"])
    assert (found["state"], found["progress"], found["error"]) == ("done", {"done": 2, "total": 2}, None)
    assert place.shown("30min/2026-02-16-1330") is not None
    assert [job["id"] for job in jobs.listed()] == [started["id"]]
    assert jobs.steps.last_runs()["consolidate"]["done"] == 2


class Held(Service__SA__Steps):
    """Steps that wait, and then do something."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._go, self._error = threading.Event(), None

    def run(self, *arguments: Any) -> dict[str, Any]:
        self._go.wait(20)
        if self._error:
            raise self._error
        return {}


def span(hour: int) -> dict[str, str]:
    return {"from": iso(BEGIN_MS + hour * HOUR_MS), "to": iso(BEGIN_MS + (hour + 1) * HOUR_MS)}


def test_the_queue_ends_and_the_same_job_is_not_done_twice():
    steps = Held(sa_pipeline=object())
    jobs = Service__SA__Jobs(steps)
    first = jobs.start("ingest", span(-1), NOW_MS)
    deadline_s = time.monotonic() + 5
    while jobs.job(first["id"])["state"] != "running":
        assert time.monotonic() < deadline_s
    with pytest.raises(Conflict, match=first["id"]):
        jobs.start("ingest", span(-1), NOW_MS)
    for hour in range(WAITING_MAX):
        jobs.start("ingest", span(-2 - hour), NOW_MS)
    with pytest.raises(Store_Unavailable, match="Too many jobs"):
        jobs.start("ingest", span(-50), NOW_MS)
    steps._go.set()
    assert ended(jobs, jobs.listed()[0]["id"])["state"] == "done"
    for hour in range(REMEMBERED_MAX):
        ended(jobs, jobs.start("ingest", span(-60 - hour), NOW_MS)["id"])
    with pytest.raises(Not_There):
        jobs.job(first["id"])


@pytest.mark.parametrize("error", [Source_Error("the bucket of 10.1.2.3 is denied"), KeyError("x")])
def test_a_job_that_fails_says_so_and_the_next_one_goes_on(error: Exception, caplog: pytest.LogCaptureFixture):
    steps = Held(sa_pipeline=object())
    jobs = Service__SA__Jobs(steps)
    steps._error = error
    steps._go.set()
    found = ended(jobs, jobs.start("ingest", span(0), NOW_MS)["id"])
    assert (found["state"], found["error"]) == ("failed", "It failed: the log of this program says why")
    assert ("Traceback" in caplog.text) == isinstance(error, KeyError)
    steps._error = None
    assert ended(jobs, jobs.start("ingest", span(1), NOW_MS)["id"])["state"] == "done"


@pytest.mark.parametrize(
    ("words", "parameter"),
    [
        ({"from": "2026-02-17", "to": "2026-02-16"}, "from"),
        ({"from": "2025-01-01", "to": "2026-02-16"}, "from"),
        ({"from": "soon"}, "from"),
    ],
)
def test_a_stretch_that_cannot_be_is_refused(words: dict[str, str], parameter: str):
    with pytest.raises(Bad_Parameter) as refused:
        Service__SA__Jobs(Held(sa_pipeline=object())).start("aggregate", words, NOW_MS)
    assert refused.value.parameter == parameter
