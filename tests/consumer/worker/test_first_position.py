"""Where a first start begins: decided once, by the source's clock, and never in the future."""

import threading
from datetime import UTC, datetime

import pytest

import sa_stream.timing as timing
from consumer.worker.application import Application
from sa_stream.config import SA__Config
from sa_stream.health.notebook import Health
from sa_stream.storage.cache_clients import cache_client__in_process
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import DAY_MS, HOUR_MS, MINUTE_MS, moment, wall_clock_ms

pytestmark = pytest.mark.usefixtures("kinesis")


def begins_at(position: str, state: State_Store) -> int:
    env = {"STREAM": "logs", "RUNNER": "local", "FIELDS": "canonical", "INITIAL_POSITION": position}
    config = SA__Config.from_env({f"SGRAPH_SEND__SA_{name}": value for name, value in env.items()})
    application = Application(config, Health(moment()), state=state, cache=cache_client__in_process("memory", ""))
    info = application.describe(threading.Event())
    assert info is not None
    application.open(info)
    return application.start.from_ms


def test_a_time_that_is_still_to_come_means_now() -> None:
    later = datetime.fromtimestamp((wall_clock_ms() + DAY_MS) / 1000, UTC).isoformat(timespec="seconds")
    from_ms = begins_at(later.replace("+00:00", "Z"), State_Store("memory://"))
    assert abs(from_ms - wall_clock_ms()) < MINUTE_MS


def test_latest_is_now_by_the_sources_clock_whatever_ours_says(monkeypatch: pytest.MonkeyPatch) -> None:
    state, true_ms = State_Store("memory://"), wall_clock_ms()
    with monkeypatch.context() as wrong:
        wrong.setattr(timing, "wall_clock_ms", lambda: wall_clock_ms() + 3 * HOUR_MS)
        from_ms = begins_at("LATEST", state)
    assert abs(from_ms - true_ms) < MINUTE_MS
    assert begins_at("LATEST", state) == from_ms  # decided once
