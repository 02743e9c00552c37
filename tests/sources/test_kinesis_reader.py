"""The boto3 reader against our own Kinesis over HTTP, and against moto, which nobody here wrote."""

import io
import signal
import subprocess
import sys
import time

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from sa_stream.embedded import kinesis_server
from sa_stream.embedded.memory_kinesis import THROTTLED, Memory_Kinesis
from sa_stream.errors import In_Use, Shard_Gone, Source_Error, Store_Unavailable
from sa_stream.sources.kinesis_reader import Kinesis_Reader, Shard_Reader
from sa_stream.timing import CLOCK_OFF_MS_MAX, DAY_MS, Moment, moment, wall_clock_ms

SHARD = "shardId-000000000000"


class Clock:
    """Stands still until a test moves it, as does the moment that it stands for."""

    def __init__(self) -> None:
        self.begin_ms = self.ms = 1_700_000_000_000
        self.begin = moment()

    def __call__(self) -> int:
        return self.ms

    @property
    def now(self) -> Moment:
        return self.begin + (self.ms - self.begin_ms)


@pytest.fixture
def aws(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KINESIS", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "none",
        "AWS_SHARED_CREDENTIALS_FILE": "none",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(aws, clock):
    kinesis = Memory_Kinesis(clock)
    kinesis.create_stream("logs", 1)
    server = kinesis_server.start(kinesis)
    aws.setenv("AWS_ENDPOINT_URL_KINESIS", server.url)
    yield server
    server.stop()


@pytest.fixture
def kinesis(server):
    return server.kinesis


@pytest.fixture
def reader(server):
    return Kinesis_Reader("logs")


def drain(shard: Shard_Reader, clock: Clock) -> list[bytes]:
    """Everything up to the tip or the end."""
    found: list[bytes] = []
    while True:
        clock.ms += shard.wait_ms(clock.now)
        batch = shard.read(clock.now)
        if batch is None:
            return found
        found += batch.payloads
        if not batch.millis_behind_latest and not shard.ended:
            return found


# ---- batches


def test_a_batch_carries_payloads_arrivals_and_numbers_as_they_are(reader, kinesis, clock):
    payloads = [b"one\n", b"\x00\xff\xfe", b"", b"\x1f\x8b\x08"]
    numbers = []
    for i, payload in enumerate(payloads):
        numbers.append(kinesis.put("logs", payload, "k", arrival_ms=clock.ms - 4000 + i * 7)[1])
    reader.describe()
    batch = Shard_Reader(reader, SHARD, "TRIM_HORIZON").read(clock.now)
    assert batch.payloads == payloads
    assert batch.sequence_numbers == numbers
    assert batch.arrivals_ms == [clock.ms - 4000 + i * 7 for i in range(4)]
    assert batch.millis_behind_latest == 0
    assert clock.ms - 5_000 < batch.not_fetched_before_ms <= clock.ms, "by Kinesis's clock, as its Date told"


def test_reading_goes_on_after_the_number_it_starts_with(reader, kinesis, clock):
    numbers = [kinesis.put("logs", b"%d" % i, "k")[1] for i in range(5)]
    assert drain(Shard_Reader(reader, SHARD, numbers[2]), clock) == [b"3", b"4"]


def test_a_start_at_a_time_misses_nothing_from_that_millisecond_on(reader, kinesis, clock):
    for i in range(5):
        kinesis.put("logs", b"%d" % i, "k", arrival_ms=clock.ms - 100 + i)
    found = drain(Shard_Reader(reader, SHARD, f"AT_TIMESTAMP:{clock.ms - 98}"), clock)
    assert found == [b"2", b"3", b"4"]


def test_reads_keep_to_five_a_second_and_to_one_at_the_tip(reader, kinesis, clock):
    kinesis.put_many("logs", [b"x"] * 10_001, ["k"] * 10_001, [clock.ms - 1000] * 10_001)
    shard = Shard_Reader(reader, SHARD, "TRIM_HORIZON")
    assert len(shard.read(clock.now).payloads) == 10_000
    assert shard.ready_at == clock.now + 200
    with pytest.raises(Store_Unavailable, match="not before"):
        shard.read(clock.now + 199)
    assert len(shard.read(clock.now + 200).payloads) == 1
    assert shard.ready_at == clock.now + 1200


# ---- the life of a shard


def test_a_split_and_a_merge_are_read_to_their_ends_parents_named_by_their_children(reader, kinesis, clock):
    kinesis.put("logs", b"parent", "k")
    left, right = kinesis.split("logs", SHARD)
    kinesis.put_to_shard("logs", left.shard_id, b"left")
    child = kinesis.merge("logs", left.shard_id, right.shard_id)
    kinesis.put("logs", b"child", "k")
    shards = {shard.shard_id: shard for shard in reader.list_shards()}
    assert [shard.closed for shard in shards.values()] == [True, True, True, False]
    assert shards[left.shard_id].parents == shards[right.shard_id].parents == (SHARD,)
    assert shards[child.shard_id].parents == (left.shard_id, right.shard_id)
    readers = [Shard_Reader(reader, shard_id, "TRIM_HORIZON") for shard_id in shards]
    assert [drain(shard, clock) for shard in readers] == [[b"parent"], [b"left"], [], [b"child"]]
    assert [shard.ended for shard in readers] == [True, True, True, False]
    assert readers[0].read(clock.now + 10_000) is None


def test_an_expired_iterator_is_renewed_from_the_last_record(reader, kinesis, clock):
    kinesis.put("logs", b"one", "k")
    shard = Shard_Reader(reader, SHARD, "TRIM_HORIZON")
    assert drain(shard, clock) == [b"one"]
    kinesis.put("logs", b"two", "k")
    clock.ms += 400_000
    assert drain(shard, clock) == [b"two"]


def test_an_expired_iterator_is_renewed_from_the_start_when_there_was_no_record(reader, kinesis, clock):
    shards = [Shard_Reader(reader, SHARD, start) for start in ("TRIM_HORIZON", f"AT_TIMESTAMP:{clock.ms}")]
    assert [drain(shard, clock) for shard in shards] == [[], []]
    kinesis.put("logs", b"late", "k")
    clock.ms += 400_000
    assert [drain(shard, clock) for shard in shards] == [[b"late"], [b"late"]]


def test_a_restarted_endpoint_that_forgot_the_iterators_costs_nothing(reader, kinesis, clock):
    kinesis.put("logs", b"one", "k")
    shard = Shard_Reader(reader, SHARD, "TRIM_HORIZON")
    drain(shard, clock)
    shard._iterator = "made by another process"
    kinesis.put("logs", b"two", "k")
    assert drain(shard, clock) == [b"two"]


def test_throttling_backs_off_longer_each_time_and_keeps_the_position(reader, kinesis, clock):
    kinesis.put("logs", b"one", "k")
    shard = Shard_Reader(reader, SHARD, "TRIM_HORIZON")
    kinesis.fault = lambda operation, *_: THROTTLED if operation == "GetRecords" else None
    waits = []
    for _ in range(10):
        with pytest.raises(Store_Unavailable, match=THROTTLED):
            shard.read(clock.now)
        waits.append(shard.wait_ms(clock.now))
        clock.ms += waits[-1]
    assert 250 <= waits[0] <= 500
    assert waits[4] > 2 * waits[0]
    assert all(wait <= 30_000 for wait in waits)
    kinesis.fault = None
    assert drain(shard, clock) == [b"one"]
    kinesis.fault = lambda operation, *_: "InternalFailure" if operation == "GetRecords" else None
    with pytest.raises(Store_Unavailable, match="InternalFailure"):
        shard.read(clock.now + 1000)
    assert shard.wait_ms(clock.now) <= 1000 + 500  # a success in between: it starts anew


def test_the_clocks_are_compared_by_the_date_of_each_answer(aws):
    ahead_ms = 0
    kinesis = Memory_Kinesis(lambda: wall_clock_ms() + ahead_ms)
    kinesis.create_stream("logs", 1)
    server = kinesis_server.start(kinesis)
    aws.setenv("AWS_ENDPOINT_URL_KINESIS", server.url)
    reader = Kinesis_Reader("logs")
    for ahead_ms, off in ((0, False), (4_000, False), (-4_000, False), (60_000, True), (-60_000, True), (0, False)):
        before = moment()
        assert Shard_Reader(reader, SHARD, "TRIM_HORIZON").read(before) is not None
        assert reader.clock.compared >= before
        assert (abs(reader.clock.offset_ms) > CLOCK_OFF_MS_MAX) == off
        assert abs(reader.clock.offset_ms - ahead_ms) <= 1500
    assert reader.clock.offset_ms == 0
    server.stop()


@pytest.mark.parametrize("ahead_ms", [0, -3_600_000, 90_000_000])
def test_an_empty_answer_at_the_tip_was_not_fetched_before_a_time_of_kinesis_s_own_clock(aws, ahead_ms):
    kinesis = Memory_Kinesis(lambda: wall_clock_ms() + ahead_ms)
    kinesis.create_stream("logs", 1)
    server = kinesis_server.start(kinesis)
    aws.setenv("AWS_ENDPOINT_URL_KINESIS", server.url)
    reader = Kinesis_Reader("logs")
    shard = Shard_Reader(reader, SHARD, "TRIM_HORIZON")
    reader.describe()  # whoever reads has asked before, and knows what time it is
    asked = moment()
    asked_ms = kinesis.now_ms()
    assert asked_ms - 2_000 < shard.read(asked).not_fetched_before_ms <= asked_ms
    server.stop()


class Body(io.BytesIO):
    """As urllib3 gives it."""

    def stream(self):
        yield self.read()


def answered_with(reader: Kinesis_Reader, operation: str, body: bytes) -> None:
    """From now on this is what comes back when the operation is asked for."""
    reader.client.meta.events.register(
        f"before-send.kinesis.{operation}", lambda request, **_: AWSResponse(request.url, 200, {}, Body(body))
    )


def test_an_answer_that_does_not_say_how_far_behind_it_is_is_not_at_the_tip(reader, kinesis, clock):
    """Else a window would be closed by it that records are still to come for."""
    shard = Shard_Reader(reader, SHARD, "TRIM_HORIZON")
    answered_with(reader, "GetRecords", b'{"Records": [], "NextShardIterator": "next"}')
    assert shard.read(clock.now).millis_behind_latest > 0


def test_a_stream_that_is_made_anew_while_another_thread_asks_for_it_is_still_found_to_have_changed(reader, kinesis):
    kinesis.split("logs", "shardId-000000000000")
    reader.describe()
    reader.list_shards()
    assert not reader.shards_changed

    def meanwhile(**_):
        kinesis.delete_stream("logs")
        kinesis.create_stream("logs", 1)
        reader.list_shards()

    reader.client.meta.events.register_last("after-call.kinesis.DescribeStreamSummary", meanwhile, unique_id="anew")
    reader.describe()
    assert reader.shards_changed
    reader.client.meta.events.unregister("after-call.kinesis.DescribeStreamSummary", unique_id="anew")
    reader.describe()
    assert not reader.shards_changed


def test_list_shards_reads_every_page(aws, clock):
    kinesis = Memory_Kinesis(clock)
    kinesis.create_stream("wide", 1_203)
    server = kinesis_server.start(kinesis)
    aws.setenv("AWS_ENDPOINT_URL_KINESIS", server.url)
    assert len({shard.shard_id for shard in Kinesis_Reader("wide").list_shards()}) == 1_203
    server.stop()


# ---- mistakes, and the sentences that they give


def test_no_such_stream_is_said_with_its_region(aws, server):
    with pytest.raises(Source_Error, match=r"no Kinesis stream missing in the region us-east-1.*AWS_REGION"):
        Kinesis_Reader("missing").describe()


def test_a_shard_that_the_stream_does_not_have_is_gone(reader, clock):
    with pytest.raises(Shard_Gone, match="no longer has this shard"):
        Shard_Reader(reader, "shardId-000000000099", "TRIM_HORIZON").read(clock.now)


def test_a_shard_that_is_trimmed_while_it_is_read_is_gone(reader, kinesis, clock):
    kinesis.put("logs", b"one\n", "k")
    shard = Shard_Reader(reader, SHARD, "TRIM_HORIZON")
    assert shard.read(clock.now) is not None
    kinesis.split("logs", SHARD)
    clock.ms += DAY_MS + 1
    with pytest.raises(Shard_Gone):
        shard.read(clock.now)


def test_a_missing_stream_with_shard_in_its_name_is_not_taken_for_a_shard(aws, server, clock):
    with pytest.raises(Source_Error, match="no Kinesis stream shards in the region") as caught:
        Shard_Reader(Kinesis_Reader("shards"), SHARD, "TRIM_HORIZON").read(clock.now)
    assert not isinstance(caught.value, Shard_Gone)


def test_a_position_of_another_stream_is_a_source_error(reader, clock):
    with pytest.raises(Source_Error, match="SGRAPH_SEND__SA_STATE_URL"):
        Shard_Reader(reader, SHARD, "123").read(clock.now)


def test_no_region_is_said_and_an_arn_brings_its_own(aws, server):
    aws.delenv("AWS_REGION")
    aws.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(Source_Error, match="AWS_REGION"):
        Kinesis_Reader("logs")
    reader = Kinesis_Reader("arn:aws:kinesis:eu-west-2:000000000000:stream/logs")
    assert reader.client.meta.region_name == "eu-west-2"
    assert reader.describe().name == "logs"
    assert len(reader.list_shards()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_CONFIG_FILE", __file__),  # no file of settings
        ("AWS_DEFAULTS_MODE", "fast"),
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "never"),
        ("AWS_RETRY_MODE", "often"),
        ("AWS_PROFILE", "nobody"),
    ],
)
def test_a_wrong_value_of_awss_own_variables_is_said(aws, server, name, value):
    aws.setenv(name, value)
    with pytest.raises(Source_Error, match=r"No Kinesis client can be made for the stream logs: .*AWS_REGION"):
        Kinesis_Reader("logs")


def test_no_credentials_are_said(aws, server):
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Source_Error, match="AWS_ACCESS_KEY_ID"):
        Kinesis_Reader("logs").describe()


def test_refused_credentials_are_a_source_error(reader, kinesis):
    kinesis.fault = lambda *_: "AccessDeniedException"
    with pytest.raises(Source_Error, match="permissions"):
        reader.list_shards()


def test_a_dead_endpoint_is_unavailable_names_itself_and_reading_goes_on_when_it_is_back(server, reader, clock):
    server.kinesis.put("logs", b"one", "k")
    shard = Shard_Reader(reader, SHARD, "TRIM_HORIZON")
    drain(shard, clock)
    server.stop()
    clock.ms += 1000
    with pytest.raises(Store_Unavailable, match=f"{server.url}.*AWS_ENDPOINT_URL_KINESIS"):
        shard.read(clock.now)
    again = kinesis_server.start(server.kinesis, server.port)
    server.kinesis.put("logs", b"two", "k")
    assert drain(shard, clock) == [b"two"]
    again.stop()


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"", b"{}"])
def test_whatever_else_answers_in_kinesis_s_place_is_no_answer(reader, clock, body):
    """A proxy, say, that wants to see somebody first."""
    shard = Shard_Reader(reader, SHARD, "TRIM_HORIZON")
    for operation in ("GetRecords", "DescribeStreamSummary", "ListShards"):
        answered_with(reader, operation, body)
    for ask in (lambda: shard.read(clock.now), reader.describe, reader.list_shards):
        with pytest.raises(Store_Unavailable, match="is none of Kinesis's"):
            ask()


def test_a_start_that_is_no_position_is_refused(reader):
    with pytest.raises(ValueError, match="TRIM_HORIZON"):
        Shard_Reader(reader, SHARD, "LATEST")


def test_the_stream_says_its_age_and_retention(reader, kinesis, clock):
    assert reader.retention_ms() == 86_400_000
    assert reader.describe().created_ms == kinesis.stream("logs").created_ms


# ---- the server


def test_the_server_answers_boto3_in_full(server, clock):
    client = boto3.client("kinesis", config=Config(retries={"total_max_attempts": 1}))
    client.create_stream(StreamName="more", ShardCount=2)
    assert client.list_streams()["StreamNames"] == ["logs", "more"]
    half = str(1 << 127)
    put = client.put_record(StreamName="more", Data=b"high", PartitionKey="k", ExplicitHashKey=half)
    assert put["ShardId"] == "shardId-000000000001"
    answer = client.put_records(
        StreamName="more", Records=[{"Data": b"low", "PartitionKey": "k", "ExplicitHashKey": "0"}] * 3
    )
    assert answer["FailedRecordCount"] == 0
    assert {record["ShardId"] for record in answer["Records"]} == {"shardId-000000000000"}
    client.merge_shards(StreamName="more", ShardToMerge=SHARD, AdjacentShardToMerge=put["ShardId"])
    client.split_shard(StreamName="logs", ShardToSplit=SHARD, NewStartingHashKey=half)
    described = client.describe_stream(StreamName="more", Limit=2)["StreamDescription"]
    assert (len(described["Shards"]), described["HasMoreShards"]) == (2, True)
    assert client.describe_stream_summary(StreamName="more")["StreamDescriptionSummary"]["OpenShardCount"] == 1
    pages = client.get_paginator("list_shards").paginate(StreamName="logs", PaginationConfig={"PageSize": 1})
    assert [len(page["Shards"]) for page in pages] == [1, 1, 1]
    iterator = client.get_shard_iterator(StreamName="more", ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")
    found = client.get_records(ShardIterator=iterator["ShardIterator"])
    assert [record["Data"] for record in found["Records"]] == [b"low"] * 3
    assert "NextShardIterator" not in found
    assert found["ChildShards"][0]["ParentShards"] == [SHARD, "shardId-000000000001"]
    client.delete_stream(StreamName="more")
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        client.describe_stream_summary(StreamName="more")


def test_a_taken_port_is_said(server):
    with pytest.raises(In_Use, match=str(server.port)):
        kinesis_server.start(server.kinesis, server.port)


def test_the_server_as_a_process_prints_its_url_first_and_ends_on_sigterm(aws):
    command = [sys.executable, "-m", "sa_stream.embedded.kinesis_server", "--stream", "logs", "--shards", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    aws.setenv("AWS_ENDPOINT_URL_KINESIS", process.stdout.readline().strip())
    assert Kinesis_Reader("logs").describe().open_shards == 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    process.stdout.close()


# ---- moto


def test_the_reader_reads_moto(aws, aws_endpoint):
    aws.setenv("AWS_ENDPOINT_URL", aws_endpoint)
    client = boto3.client("kinesis")
    client.create_stream(StreamName="logs", ShardCount=2)
    begin_ms = time.time_ns() // 1_000_000
    payloads = [b"line %d\n" % i for i in range(200)]
    client.put_records(StreamName="logs", Records=[{"Data": p, "PartitionKey": str(p)} for p in payloads])
    reader = Kinesis_Reader("logs")
    info = reader.describe()
    assert (info.open_shards, info.retention_ms) == (2, 86_400_000)
    assert abs(reader.describe().created_ms - begin_ms) < 60_000
    assert [shard.closed for shard in reader.list_shards()] == [False, False]
    found = []
    for info in reader.list_shards():
        for start in ("TRIM_HORIZON", f"AT_TIMESTAMP:{begin_ms - 1000}"):
            batch = Shard_Reader(reader, info.shard_id, start).read(moment())
            assert all(abs(arrival_ms - begin_ms) < 60_000 for arrival_ms in batch.arrivals_ms)
            assert 0 < batch.not_fetched_before_ms <= wall_clock_ms()
            assert reader.clock.offset_ms == 0
        found += batch.payloads
        rest = Shard_Reader(reader, info.shard_id, batch.sequence_numbers[10]).read(moment())
        assert rest.payloads == batch.payloads[11:]
    assert sorted(found) == sorted(payloads)


def test_moto_s_missing_stream_gives_the_same_sentence(aws, aws_endpoint):
    aws.setenv("AWS_ENDPOINT_URL", aws_endpoint)
    with pytest.raises(Source_Error, match="no Kinesis stream missing"):
        Kinesis_Reader("missing").describe()


def test_an_answer_of_another_shape_is_read_by_boto3_itself(aws, aws_endpoint, monkeypatch):
    aws.setenv("AWS_ENDPOINT_URL", aws_endpoint)
    client = boto3.client("kinesis")
    client.create_stream(StreamName="plain", ShardCount=1)
    client.put_record(StreamName="plain", Data=b"one", PartitionKey="k")
    reader = Kinesis_Reader("plain", client)
    client.meta.events.unregister("before-parse.kinesis.GetRecords", unique_id="sa-stream-get-records")
    now_ms = time.time_ns() // 1_000_000
    batch = Shard_Reader(reader, reader.list_shards()[0].shard_id, "TRIM_HORIZON").read(moment())
    assert batch.payloads == [b"one"]
    assert abs(batch.arrivals_ms[0] - now_ms) < 60_000
