"""Settings: what goes in comes out, and what cannot work is refused by the name of its variable."""

import io
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.process.log_setup import REPEATS_PER_MINUTE_MAX, setup_logging
from consumer.process.terminal import printable
from sa_stream.config import HIDDEN, PREFIX, SETTINGS, SA__Config, settings_table
from sa_stream.errors import Config_Error, Field_List_Error
from sa_stream.log import COMMITTED, ENTRY, KCL_JAVA, MEMORY, PUBLISHING_FAILED, WAITING, Log
from sa_stream.timing import HOUR_MS, Timing

DOCUMENT = Path(__file__).parents[1] / "docs" / "settings.md"


def config(**variables: str) -> SA__Config:
    return SA__Config.from_env({PREFIX + name: value for name, value in variables.items()})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOGS_BUCKET", "my.logs.example"),
        ("LOGS_PREFIX", "logs/cloud front/é+x=1/"),
        ("STREAM", "my.stream_name-1"),
        ("STREAM", "arn:aws:kinesis:eu-west-2:123456789012:stream/my.stream"),
        ("APPLICATION", "sa.stream_1-x"),
        ("INITIAL_POSITION", "2026-02-16T14:30:00.250+01:00"),
        ("CACHE_URL", "https://cache.example.com:8443/base/path"),
        ("STATE_URL", "s3://my.state.example/some/prefix"),
        ("STATE_URL", "file:///var/lib/sa stream/state"),
        ("CACHE_PATH", "./a folder/cache.d"),
        ("CACHE_API_KEY_NAME", "X-Api.Key"),
        ("CACHE_API_KEY_VALUE", "a/b.c+d=%2F'\"\\"),
        ("API_KEY", "k.e/y"),
        ("PATH_RULES", '[["^/u/[0-9]+(/.*)?$", "/u/[id]"]]'),
        ("FIELDS", "timestamp,sc-status,cs-uri-stem"),
        ("HTTP_HOST", "::1"),
        ("HTTP_HOST", "fe80::1%eth0"),
        ("HTTP_HOST", "0.0.0.0"),
        ("HTTP_HOST", f"{'a' * 63}.b_c.example."),
        ("LOGS_TIME_ZONE", "Europe/Berlin"),
    ],
)
def test_a_value_comes_out_as_it_went_in(name: str, value: str) -> None:
    assert getattr(config(**{name: value}), name.lower()) == value


@pytest.mark.parametrize("name", ["LOGS_BUCKET", "STATE_URL", "CACHE_PATH", "WORK_DIR"])
def test_a_tilde_before_a_folder_is_a_home_as_in_a_shell(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of us")
    scheme = "file://" if name in ("LOGS_BUCKET", "STATE_URL") else ""
    for value, found in (("~", "/home/of us"), ("~/a/~b", "/home/of us/a/~b"), ("./~", "./~"), ("/~", "/~")):
        assert getattr(config(**{name: scheme + value}), name.lower()) == scheme + found


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_any_prefix_comes_out_as_it_went_in(prefix: str) -> None:
    assert config(LOGS_PREFIX=prefix).logs_prefix == prefix


def test_every_setting_is_a_field_and_every_field_a_setting() -> None:
    assert {setting.attribute for setting in SETTINGS} == set(SA__Config.__annotations__)


def test_every_default_is_a_value_that_its_own_check_accepts() -> None:
    for setting in SETTINGS:
        default = getattr(SA__Config(), setting.attribute)
        if default != "":
            assert setting.read(str(default)) == default, setting.name


def test_an_empty_variable_counts_as_not_set() -> None:
    assert config(STREAM="", HTTP_PORT="").json() == config().json()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("HTTP_PORT", "80800", "a whole number from 0 to 65535"),
        ("HTTP_PORT", "eighty", "a whole number from 0 to 65535"),
        ("HTTP_PORT", "\u0668\u0660", "a whole number from 0 to 65535"),
        ("COMMIT_INTERVAL_S", "0", "a whole number from 1 to 1800"),
        ("COMMIT_INTERVAL_S", "1e3", "a whole number"),
        ("SAMPLING_PERCENT", "101", "from 1 to 100"),
        ("ENABLED", "maybe", "true or false"),
        ("RUNNER", "locale", "kcl or local (did you mean local?)"),
        ("SOURCE", "sqs", "kinesis or s3"),
        ("STREAM", "my stream", "a stream name"),
        ("INITIAL_POSITION", "yesterday", "TRIM_HORIZON, LATEST, or an ISO time"),
        ("LOGS_BUCKET", "s3://bucket", "without s3://"),
        ("CACHE_URL", "cache.example.com", "an http:// or https:// URL"),
        ("CACHE_URL", "ftp://cache.example.com", "an http:// or https:// URL"),
        ("CACHE_URL", "http://host:port", "an http:// or https:// URL"),
        ("CACHE_URL", "http://cache..example.com", "an http:// or https:// URL"),
        ("CACHE_URL", f"http://{'a' * 64}.example.com/path", "an http:// or https:// URL"),
        ("HTTP_HOST", "a..b", "a host name or an address"),
        ("HTTP_HOST", f"{'a' * 64}.example.com", "a host name or an address"),
        ("HTTP_HOST", "\udcff", "a host name or an address"),
        ("HTTP_HOST", "two words", "a host name or an address"),
        ("STATE_URL", "gs://bucket", "s3://bucket/prefix, file:///path or memory://"),
        ("STATE_URL", "/var/state", "s3://bucket/prefix, file:///path or memory://"),
        ("CACHE_MODE", "disk", "local_disk or memory"),
        ("LOGS_TIME_ZONE", "Mars/Olympus", "the IANA name of a time zone"),
        ("LOGS_TIME_ZONE", "right/Europe/London", "the IANA name of a time zone"),
        ("LOGS_TIME_ZONE", "localtime", "the IANA name of a time zone"),
        ("LOG_FORMAT", "xml", "json or text"),
        ("INITIAL_POSITION", "0001-01-01T00:00+14:00", "an ISO time from 2001 to 2099"),
        ("INITIAL_POSITION", "2100-01-01", "an ISO time from 2001 to 2099"),
        ("LOGS_BUCKET", "file:///a\r", "without control characters"),
        ("LOGS_PREFIX", "x\r", "without control characters"),
        ("LOGS_PREFIX", "\udcff", "in UTF-8"),
        ("STATE_URL", "s3://bucket/x\r", "without control characters"),
        ("CACHE_PATH", "./cache\n", "without control characters"),
        ("WORK_DIR", "./\x85", "without control characters"),
        ("WORK_DIR", "~nobody-of-this-name/x", "no home of this machine"),
        ("CACHE_PATH", "~nobody-of-this-name", "no home of this machine"),
        ("STATE_URL", "file://~nobody-of-this-name/x", "no home of this machine"),
        ("LOGS_BUCKET", "file://~nobody-of-this-name", "no home of this machine"),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_its_variable_and_what_was_expected_and_found(
    name: str, value: str, expected: str
) -> None:
    with pytest.raises(Config_Error) as refused:
        config(**{name: value})
    assert str(refused.value).startswith(f"{PREFIX}{name}: expected ")
    assert expected in str(refused.value)
    assert str(refused.value).endswith(f"found {value!r}.")


@pytest.mark.parametrize("name", ["ENABLED", "STREAM", "CACHE_URL", "STATE_URL", "HTTP_PORT", "LOGS_TIME_ZONE"])
@pytest.mark.parametrize("value", ["x y" * 30_000, "://" * 30_000, "\n" * 90_000])
def test_a_long_value_that_is_refused_is_quoted_by_its_beginning(name: str, value: str) -> None:
    with pytest.raises(Config_Error) as refused:
        config(**{name: value})
    assert len(str(refused.value)) < 500
    assert str(refused.value).endswith("… (90,000 characters).")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FIELDS", "timestamp,{}"),
        ("DROP_FIELDS", "{}"),
        ("ALLOW_FIELDS", "{}"),
        ("INTERNAL_HOSTS", "{}"),
        ("PATH_RULES", '[["({}", "x"]]'),
        ("PATH_RULES", '[["({})", "${{}}"]]'),
    ],
)
def test_so_is_a_long_part_of_a_value(name: str, value: str) -> None:
    with pytest.raises(Config_Error) as refused:
        config(**{name: value.replace("{}", "z" * 90_000)})
    assert len(str(refused.value)) < 1_500
    assert "zzz… (90,00" in str(refused.value)


def test_a_long_name_that_is_no_setting_is_cut() -> None:
    with pytest.raises(Config_Error, match="is not a setting") as refused:
        config(**{"X" * 90_000: "1"})
    assert len(str(refused.value)) < 300


def test_a_secret_in_a_long_value_is_not_cut_in_two() -> None:
    with pytest.raises(Config_Error) as refused:
        config(API_KEY="the-secret-key", STREAM="x" * 190 + " the-secret-key" * 10)
    assert "the-" not in str(refused.value)


@pytest.mark.parametrize("service", ["", "_KINESIS", "_DYNAMODB", "_CLOUDWATCH", "_S3"])
@pytest.mark.parametrize("value", ["nonsense", "localhost:4566", "http://x:99999", "http://[::1", "https://a..b"])
def test_an_endpoint_of_aws_that_is_no_url_is_refused_as_a_setting_is(service: str, value: str) -> None:
    variable = f"AWS_ENDPOINT_URL{service}"
    with pytest.raises(Config_Error) as refused:
        SA__Config.from_env({variable: value})
    assert str(refused.value) == (
        f"{variable}: expected an http:// or https:// URL such as http://127.0.0.1:4566, found {value!r}."
    )
    SA__Config.from_env({variable: "http://[::1]:4566/path"})
    SA__Config.from_env({variable: ""})


def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(Config_Error, match=r"SA_STRAEM is not a setting: did you mean SGRAPH_SEND__SA_STREAM\?"):
        config(STRAEM="x")


def test_a_variable_that_is_like_no_setting_is_refused_without_a_guess() -> None:
    with pytest.raises(Config_Error, match=r"SA_FOO is not a setting: docs/settings.md has them all\."):
        config(FOO="x")


def test_settings_of_the_kcl_and_of_others_are_left_alone() -> None:
    SA__Config.from_env({f"{PREFIX}KCL__MAX_RECORDS": "5", "SGRAPH_SEND__OTHER": "x", "HOME": "/"})


def test_a_forbidden_field_is_refused_by_the_privacy_guard() -> None:
    with pytest.raises(Field_List_Error, match="c-ip"):
        config(FIELDS="timestamp,c-ip,sc-status")


def test_a_path_rule_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(Config_Error, match="SGRAPH_SEND__SA_PATH_RULES"):
        config(PATH_RULES='[["(", "x"]]')


def test_the_source_is_kinesis_if_a_stream_is_named_else_s3() -> None:
    assert config(STREAM="logs").source == "kinesis"
    assert config(LOGS_BUCKET="logs").source == "s3"
    assert config(STREAM="logs", SOURCE="s3").source == "s3"


def test_each_stream_has_an_application_of_its_own_unless_one_is_named() -> None:
    arn = "arn:aws:kinesis:us-east-1:111122223333:stream/logs"
    assert config(STREAM="logs").application == config(STREAM=arn).application == "sa-stream-logs"
    assert config(STREAM="other").application == "sa-stream-other"
    assert config(STREAM="logs", APPLICATION="sa-stream").application == "sa-stream"
    assert config(LOGS_BUCKET="logs").application == "sa-stream"


@pytest.mark.parametrize(("variables", "missing"), [({}, "STREAM"), ({"SOURCE": "kinesis"}, "STREAM")])
def test_without_a_stream_there_is_nothing_to_run(variables: dict[str, str], missing: str) -> None:
    with pytest.raises(Config_Error, match=PREFIX + missing):
        config(**variables).require_input()


def test_timing_has_the_durations_in_its_own_units() -> None:
    timing = config(COMMIT_INTERVAL_S="5", DEDUPE_HORIZON_S="61", ALLOWED_LATENESS_S="7").timing(HOUR_MS)
    assert timing == Timing(
        commit_interval_ms=5000, dedupe_horizon_minutes=2, allowed_lateness_ms=7000, retention_ms=HOUR_MS
    )
    assert config().timing() == Timing()


def test_an_initial_position_without_a_zone_is_utc() -> None:
    assert config(INITIAL_POSITION="2026-02-16T14:30:00").initial_position_ms() == 1_771_252_200_000
    assert config(INITIAL_POSITION="latest").initial_position == "LATEST"
    assert config().initial_position_ms() is None


def test_secrets_are_never_shown() -> None:
    secret = config(API_KEY="hunter2", CACHE_API_KEY_VALUE="swordfish")
    shown = f"{secret!r} {secret} {secret.json()}"
    assert "hunter2" not in shown
    assert "swordfish" not in shown
    assert secret.json()["api_key"] == HIDDEN
    with pytest.raises(Config_Error) as refused:
        config(API_KEY="hunter2 with a space")
    assert "hunter2" not in str(refused.value)


def test_the_table_in_the_documents_is_the_one_of_the_settings() -> None:
    text = DOCUMENT.read_text()
    begin, end = "<!-- settings: begin (python -m sa_stream.config) -->\n", "\n<!-- settings: end -->"
    assert text.split(begin)[1].split(end)[0] == settings_table()


@pytest.fixture
def log_lines():
    """Logs of a process with these settings, as text; the root logger is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()

    def start(**variables: str) -> io.StringIO:
        setup_logging(config(**variables), stream)
        return stream

    yield start
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_log_line_is_one_json_object_with_time_level_event_message_and_fields(log_lines) -> None:
    stream = log_lines()
    Log("engine").tell(COMMITTED, "Committed.\nTwice", partition="shard-0", records=5)
    Log("kcl").tell(KCL_JAVA, "not at this level")
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry.pop("ts").endswith("Z")
    assert entry == {
        "level": "info",
        "event": "committed",
        "message": "Committed.\nTwice",
        "fields": {"partition": "shard-0", "records": 5},
    }


def test_a_log_line_never_holds_a_secret(log_lines) -> None:
    stream = log_lines(API_KEY='hun"ter2')
    try:
        raise ValueError('hun"ter2 in an error')
    except ValueError as error:
        Log("cache").tell(
            PUBLISHING_FAILED, 'with hun"ter2', error=error, url='http://x/?key=hun"ter2', all=[{"a": 'hun"ter2'}]
        )
    assert "ter2" not in stream.getvalue()
    assert json.loads(stream.getvalue())["fields"]["traceback"].startswith("Traceback")


def test_a_repeated_warning_is_capped_and_the_rest_is_counted(log_lines) -> None:
    stream = log_lines(LOG_FORMAT="text")
    for _ in range(REPEATS_PER_MINUTE_MAX + 30):
        Log("state").tell(WAITING, "the state store does not answer")
    Log("state").tell(MEMORY, "something else")
    assert len(stream.getvalue().splitlines()) == REPEATS_PER_MINUTE_MAX + 1


def test_a_hostile_text_cannot_reach_a_terminal_through_a_log_line(log_lines) -> None:
    stream = log_lines(LOG_FORMAT="text")
    Log("parser").tell(ENTRY, "a\x1b[2Jb\nc", path="\u202eevil")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert r"a\x1b[2Jb\nc path=\u202eevil" in stream.getvalue()


@given(st.text())
def test_printable_text_has_no_control_characters_and_keeps_the_rest(text: str) -> None:
    shown = printable(text)
    assert all(character.isprintable() or character.isspace() for character in shown)
    assert not any(ord(character) < 32 or ord(character) == 127 for character in shown)
    if text.isprintable():
        assert shown == text
