"""How the first records of a stream tell how it is read: what the scout looks at, and what every worker finds later."""

import threading
import time
from pathlib import Path

import pytest

from consumer.worker.application import Application
from consumer.worker.field_scout import Field_Scout
from sa_stream.commits.keys import FIELDS_KEY, snapshot_key
from sa_stream.config import PREFIX, SA__Config
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.errors import Field_List_Error
from sa_stream.health.notebook import Health
from sa_stream.records.fields import CANONICAL
from sa_stream.storage.cache_clients import cache_client__in_process
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import moment, wall_clock_ms
from tests.log_lines import line_of

REAL = (Path(__file__).parents[2] / "cases" / "real_26_fields.log").read_bytes().splitlines()


def put(kinesis: Memory_Kinesis, lines: list[bytes]) -> None:
    for number, line in enumerate(lines):
        kinesis.put("logs", line + b"\n", str(number))


def ordinary(number: int) -> bytes:
    return line_of({"timestamp": f"{wall_clock_ms() // 1000 - 60}.{number:03d}"})


def application(state: State_Store, **settings: str) -> Application:
    given = {"STREAM": "logs", "RUNNER": "local", **settings}
    config = SA__Config.from_env({PREFIX + name: value for name, value in given.items()})
    made = Application(config, Health(moment()), state=state, cache=cache_client__in_process("memory", ""))
    info = made.describe(threading.Event())
    assert info is not None
    made.open(info)
    return made


def decided(scout: Field_Scout, within_s: float = 5.0) -> bool:
    """Whether it is decided after a few looks; the reader waits between them."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        if scout.decided():
            return True
        time.sleep(0.05)
    return False


def test_comments_are_no_records_and_the_scout_goes_on_looking(kinesis: Memory_Kinesis) -> None:
    put(kinesis, [b"#Version: 1.0"] * 130)
    app = application(State_Store("memory://"))
    scout = Field_Scout(app)
    assert not decided(scout, within_s=1)
    put(kinesis, [ordinary(number) for number in range(20)])
    assert decided(scout)
    assert app.fields.lists.lists[0].names == CANONICAL


def test_a_list_that_is_found_is_what_every_worker_reads_with(kinesis: Memory_Kinesis) -> None:
    put(kinesis, REAL)
    state = State_Store("memory://")
    app = application(state, DROP_FIELDS="c-country")
    assert decided(Field_Scout(app))
    (fields,) = app.fields.lists.lists
    assert fields.names[14] == "x-edge-response-result-type"
    assert b"x-edge-response-result-type" in (state.get(FIELDS_KEY) or b"")
    again = application(state, DROP_FIELDS="c-country")
    assert again.fields.checked
    assert again.fields.lists == app.fields.lists
    with pytest.raises(Field_List_Error, match="c-country, which tells who a visitor is"):
        application(state)


def test_a_list_that_contradicts_the_first_records_is_refused_at_the_first_start_only(kinesis: Memory_Kinesis) -> None:
    put(kinesis, REAL * 4)
    wrong = ",".join(reversed([*CANONICAL[:26]]))
    state = State_Store("memory://")
    app = application(state, FIELDS=wrong)
    with pytest.raises(Field_List_Error, match="200 of the first 200 records cannot be of that list"):
        decided(Field_Scout(app))
    state.put(snapshot_key("shardId-000000000000", "1", "lineage"), b"whatever")  # what it has read says more
    assert application(state, FIELDS=wrong).fields.checked
