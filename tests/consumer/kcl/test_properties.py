"""The KCL's properties: what is known and what is refused, and that the table is what the classes can be set to."""

import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.kcl import properties as table
from consumer.kcl.java import class_path
from consumer.kcl.properties import Fetch_Ahead, fetch_ahead, kcl_properties, write_properties
from sa_stream.config import SA__Config
from sa_stream.errors import Config_Error

STREAM = {"SGRAPH_SEND__SA_STREAM": "logs"}
ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/logs"
KCL = "SGRAPH_SEND__SA_KCL__"
CONFIGURATION = "config/MultiLangDaemonConfiguration"
NOT_TEXT = {"shardPrioritization"}  # an object: the daemon has no way to make it from a line


def properties(**env: str) -> dict[str, str]:
    given_env = {**STREAM, **env}
    return kcl_properties(SA__Config.from_env(given_env), given_env)


def refusal(**env: str) -> str:
    with pytest.raises(Config_Error) as caught:
        properties(**env)
    return str(caught.value)


def test_the_defaults_are_a_poller_that_ticks_on_idle_shards_and_commits_before_it_ends() -> None:
    found = properties(AWS_REGION="us-east-1")
    assert found["retrievalMode"] == "POLLING"
    assert found["callProcessRecordsEvenForEmptyRecordList"] == "true"
    assert int(found["shutdownGraceMillis"]) > 0
    assert found["metricsLevel"] == "SUMMARY"
    assert (found["streamName"], found["regionName"], found["applicationName"]) == (
        "logs",
        "us-east-1",
        "sa-stream-logs",
    )
    assert not any("ndpoint" in name for name in found)


def test_an_arn_is_given_as_one_and_brings_its_region() -> None:
    found = properties(SGRAPH_SEND__SA_STREAM=ARN, AWS_REGION="us-east-1")
    assert (found["streamArn"], found["regionName"]) == (ARN, "eu-west-1")
    assert "streamName" not in found


def test_endpoints_come_from_the_variables_that_every_sdk_reads() -> None:
    found = properties(AWS_ENDPOINT_URL="http://127.0.0.1:1", AWS_ENDPOINT_URL_KINESIS="http://127.0.0.1:2")
    assert found["kinesisEndpoint"] == "http://127.0.0.1:2"
    assert found["dynamoDBEndpoint"] == found["cloudWatchClient.endpointOverride"] == "http://127.0.0.1:1"
    assert found["metricsLevel"] == "NONE"
    assert properties(AWS_ENDPOINT_URL_DYNAMODB="http://127.0.0.1:1")["metricsLevel"] == "SUMMARY"
    ignored = properties(AWS_ENDPOINT_URL="http://127.0.0.1:1", AWS_IGNORE_CONFIGURED_ENDPOINT_URLS="true")
    assert not any("ndpoint" in name for name in ignored)


def test_every_property_of_the_kcl_can_be_given_and_wins_over_ours() -> None:
    given_env = {
        "maxRecords": "5000",
        "retrievalMode": "FANOUT",
        "fanoutConfig.consumerName": "one",
        "kinesisClient.httpClientBuilder.maxConcurrency": "9",
        "workerMetricsEMAAlpha": "0.25",
        "disableWorkerMetrics": "true",
        "metricsLevel": "DETAILED",
    }
    found = properties(**{KCL + name: value for name, value in given_env.items()})
    assert {name: found[name] for name in given_env} == given_env
    mine = properties(**{f"{KCL}AwsCredentialsProvider": "MyProvider"})
    assert mine["awsCredentialsProvider"] == "MyProvider"
    assert "AwsCredentialsProvider" not in mine
    assert "maxLeasesForWorker" not in properties(**{f"{KCL}maxLeasesForWorker": ""})


def test_an_unknown_property_is_an_error_that_says_what_was_meant() -> None:
    said = refusal(**{f"{KCL}maxrecord": "1"})
    assert said.startswith(f"{KCL}maxrecord is not a property of the KCL 3.1.3: did you mean {KCL}maxRecords?")
    assert "documentation" in refusal(**{f"{KCL}zzz": "1"})


@pytest.mark.parametrize(("name", "instead"), sorted(table.OWNED.items()))
def test_what_the_rest_of_the_program_has_to_know_is_set_for_both(name: str, instead: str) -> None:
    said = refusal(**{KCL + name: "1"})
    assert said.startswith(f"{KCL}{name} is not a setting: ")
    assert instead in said


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("maxLeasesForWorker", "many", "a whole number from 0 to 2147483647"),
        ("maxLeasesForWorker", "-1", "a whole number"),
        ("maxRecords", "0", "a whole number from 1 to 10000"),
        ("maxRecords", "10001", "a whole number from 1 to 10000"),
        ("failoverTimeMillis", "99999999999", "a whole number"),
        ("workerMetricsEMAAlpha", "half", "a number such as 0.5"),
        ("disableWorkerMetrics", "yes", "true or false"),
        ("retrievalMode", "PUSH", "POLLING or FANOUT or DEFAULT"),
    ],
)
def test_a_value_that_the_daemon_would_take_for_another_is_refused(name: str, value: str, expected: str) -> None:
    said = refusal(**{KCL + name: value})
    assert said.startswith(f"{KCL}{name}: expected {expected}")
    assert said.endswith(f"found {value!r}.")


def test_fan_out_may_have_more_answers_waiting_than_polling() -> None:
    assert fetch_ahead(properties()) == Fetch_Ahead(3)
    assert fetch_ahead(properties(**{f"{KCL}retrievalMode": "FANOUT"})) == Fetch_Ahead(11, 300_000)
    assert fetch_ahead(properties(**{f"{KCL}retrievalMode": "DEFAULT"})) == Fetch_Ahead(11, 300_000)


def test_the_file_is_for_our_user_only_and_says_where_to_start(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    first = write_properties(str(folder), properties(), "host-1", None)
    assert "initialPositionInStream=TRIM_HORIZON\n" in first.read_text()
    again = write_properties(str(folder), properties(), "host-1", 1_700_000_000_999)
    assert again == first
    text = first.read_text()
    assert "initialPositionInStreamExtended=1700000000\n" in text
    assert "TRIM_HORIZON" not in text
    assert "workerIdentifier=host-1\n" in text
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert list(folder.iterdir()) == [first]


def test_a_work_dir_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Config_Error, match="SGRAPH_SEND__SA_WORK_DIR: expected a folder to write to"):
        write_properties(str(tmp_path / "file"), properties(), "host-1", None)


def unescaped(text: str) -> str:
    """As java.util.Properties reads a value."""
    plain = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
    out, rest = b"", iter(text.lstrip(" \t\f"))
    for character in rest:
        if character == "\\":
            character = next(rest)
            if character == "u":
                out += bytes.fromhex("".join(next(rest) for _ in range(4)))
                continue
            character = plain.get(character, character)
        out += character.encode("utf-16-be")
    return out.decode("utf-16-be", errors="surrogatepass")


@given(st.text(max_size=30))
def test_any_value_stays_on_its_line_and_is_read_back_as_it_was(value: str) -> None:
    line = table._escaped(value)
    assert line.isascii()
    assert line.isprintable()
    assert unescaped(line) == value


def setters(name: str) -> Iterator[tuple[str, str]]:
    """(property, Java type) of what a class of the daemon lets be set, from its class file (JVM specification, 4)."""
    jar = next(Path(class_path()[:-2]).glob("amazon-kinesis-client-multilang-*.jar"))
    data = zipfile.ZipFile(jar).read(f"software/amazon/kinesis/multilang/{name}.class")
    strings: dict[int, str] = {}
    at, index, count = 10, 1, struct.unpack_from(">H", data, 8)[0]
    widths = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}
    while index < count:
        tag, at = data[at], at + 1
        if tag == 1:
            (length,) = struct.unpack_from(">H", data, at)
            strings[index] = data[at + 2 : at + 2 + length].decode(errors="replace")
            at += 2 + length
        else:
            at += widths[tag]
        index += 2 if tag in (5, 6) else 1
    at += 6
    at += 2 + 2 * struct.unpack_from(">H", data, at)[0]
    for members in ("fields", "methods"):
        (count,), at = struct.unpack_from(">H", data, at), at + 2
        for _ in range(count):
            access, method, descriptor, attributes = struct.unpack_from(">4H", data, at)
            at += 8
            for _ in range(attributes):
                at += 6 + struct.unpack_from(">I", data, at + 2)[0]
            name = strings[method]
            if members == "methods" and access & 1 and name.startswith("set"):
                yield name[3].lower() + name[4:], strings[descriptor].partition(")")[0].rpartition("/")[2].strip("(;")


KINDS = {
    **dict.fromkeys(("I", "J", "Integer", "Long"), table.INTEGERS),
    **dict.fromkeys(("Z", "Boolean"), table.BOOLEANS),
    "D": table.DECIMALS,
    "Double": table.DECIMALS,
}


def test_the_table_is_what_the_installed_classes_can_be_set_to() -> None:
    found = dict(setters(CONFIGURATION))
    found |= {f"fanoutConfig.{name}": kind for name, kind in setters("config/FanoutConfigBean")}
    found |= {"processingLanguage": "String", "maxActiveThreads": "I", "executableName": "String"}
    known = {name for name in table.KNOWN if not name.startswith("Aws")} | table.OWNED.keys()
    assert found.keys() - NOT_TEXT == {name for name in known if not table.BUILDERS.fullmatch(name)}
    for name, kind in found.items():
        for kinds in {table.INTEGERS, table.BOOLEANS, table.DECIMALS}:
            assert name in table.OWNED or (name in kinds) == (KINDS.get(kind) is kinds), (name, kind)
