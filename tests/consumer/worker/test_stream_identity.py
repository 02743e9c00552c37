"""A stream that is deleted and made anew under its name while a worker runs, or while none does."""

import threading
from collections.abc import Iterator

import pytest

import consumer.worker.application
from consumer.local.runner import Local_Runner
from consumer.worker.application import Application
from sa_stream.commits.decisions import Stream_Identity, claim_runner
from sa_stream.config import SA__Config
from sa_stream.embedded import kinesis_server
from sa_stream.embedded.memory_kinesis import Memory_Kinesis
from sa_stream.errors import Config_Error
from sa_stream.health.notebook import Health
from sa_stream.storage.cache_clients import cache_client__in_process
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import HOUR_MS, moment, wall_clock_ms
from tests.emulated_aws import point_at

ENDS_S = 20


class Stream:
    """A Kinesis in memory, served over HTTP, whose clock a test can put forward."""

    def __init__(self) -> None:
        self.ahead_ms = 0
        self.kinesis = Memory_Kinesis(lambda: wall_clock_ms() + self.ahead_ms)
        self.created = self.kinesis.create_stream("logs", shards=2).created_ms
        self.server = kinesis_server.start(self.kinesis)

    def make_anew(self, shards: int = 2) -> None:
        """With the same name, shard ids and sequence numbers, as far as there are as many shards."""
        self.kinesis.delete_stream("logs")
        self.ahead_ms += HOUR_MS
        self.created = self.kinesis.create_stream("logs", shards).created_ms


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    made = Stream()
    point_at(monkeypatch, "KINESIS", made.server.url)
    yield made
    made.server.stop()


def config() -> SA__Config:
    return SA__Config.from_env(
        {
            "SGRAPH_SEND__SA_STREAM": "logs",
            "SGRAPH_SEND__SA_RUNNER": "local",
            "SGRAPH_SEND__SA_FIELDS": "canonical",
            "SGRAPH_SEND__SA_COMMIT_INTERVAL_S": "1",
        }
    )


def opened(state: State_Store) -> Application:
    health = Health(moment())
    application = Application(config(), health, state=state, cache=cache_client__in_process("memory", ""))
    info = application.describe(threading.Event())
    assert info is not None
    application.open(info)
    return application


def test_a_stream_made_anew_while_nobody_ran_is_refused_at_the_start(stream: Stream) -> None:
    state = State_Store("memory://")
    opened(state)
    opened(state)
    before = stream.created
    stream.make_anew()
    with pytest.raises(Config_Error) as caught:
        opened(state)
    arn = "arn:aws:kinesis:us-east-1:000000000000:stream/logs"
    for created in (before, stream.created):
        assert str(Stream_Identity(arn, created)) in str(caught.value)


def test_a_list_that_looks_like_another_streams_is_never_given_to_anybody(stream: Stream) -> None:
    application = opened(State_Store("memory://"))
    assert len(application.list_shards()) == 2
    stream.make_anew(shards=1)
    for _ in range(2):
        with pytest.raises(Config_Error, match="this worker has read until now"):
            application.list_shards()


def test_a_list_that_looks_odd_stays_odd_until_the_stream_was_described(stream: Stream) -> None:
    """Several threads list shards: what one of them has seen must not be forgotten because another one lists again."""
    application = opened(State_Store("memory://"))
    application.list_shards()
    stream.make_anew(shards=1)
    for _ in range(2):
        application.reader.list_shards()
    with pytest.raises(Config_Error, match="this worker has read until now"):
        application.list_shards()


def test_a_stream_made_anew_that_looks_the_same_is_found_out_within_a_minute(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = opened(State_Store("memory://"))
    assert len(application.list_shards()) == 2
    stream.make_anew()
    assert consumer.worker.application.DESCRIBE_S <= 60
    monkeypatch.setattr(consumer.worker.application, "DESCRIBE_S", 0.0)
    with pytest.raises(Config_Error, match="this worker has read until now"):
        application.list_shards()


def test_a_local_runner_ends_when_its_stream_is_made_anew(stream: Stream) -> None:
    health = Health(moment())
    state = State_Store("memory://")
    cache = cache_client__in_process("memory", "")
    runner = Local_Runner(Application(config(), health, state=state, cache=cache))
    ended: list[BaseException] = []

    def run() -> None:
        try:
            runner.run()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while len(health.view().shards) < 2:
        thread.join(0.05)
        assert thread.is_alive(), ended
    stream.make_anew(shards=1)
    thread.join(ENDS_S)
    runner.stop()
    assert not thread.is_alive()
    assert [type(error) for error in ended] == [Config_Error], ended
    assert "SGRAPH_SEND__SA_STATE_URL" in str(ended[0])


def test_a_local_runner_refuses_a_state_that_workers_of_the_kcl_read_for(stream: Stream) -> None:
    state = State_Store("memory://")
    claim_runner(state, "kcl")
    cache = cache_client__in_process("memory", "")
    runner = Local_Runner(Application(config(), Health(moment()), state=state, cache=cache))
    with pytest.raises(Config_Error, match="SGRAPH_SEND__SA_RUNNER=kcl"):
        runner.run()
