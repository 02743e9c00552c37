"""Settings: the environment comes in, one checked `SA__Config` goes out, or a Config_Error that names the variable.

`python -m sa_stream.config` prints the table of docs/settings.md.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from unicodedata import category
from urllib.parse import urlsplit

from msgspec import Struct
from osbot_utils.type_safe.Type_Safe import Type_Safe

from sa_stream.archive.layout import AUTO, LAYOUTS
from sa_stream.errors import Config_Error
from sa_stream.folders import folder_of
from sa_stream.records.fields import Field_Lists, resolve_field_lists
from sa_stream.secrecy import HIDDEN, as_found, hide, hide_passing, quoted
from sa_stream.timing import DAY_MS, TIMES_FROM_MS, TIMES_UNTIL_MS, Timing, zone_of

if TYPE_CHECKING:
    from sa_stream.records.intake import Intake  # loads polars

PREFIX = "SGRAPH_SEND__SA_"
RESERVED_PREFIX = f"{PREFIX}KCL__"  # handed to the KCL's properties; checked there
SECRETS = ("cache_api_key_value", "api_key")
# Secrets that others than this program read from its environment.
FOREIGN_SECRETS = ("FAST_API__AUTH__API_KEY__VALUE", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
AWS_ENDPOINTS = tuple(f"AWS_ENDPOINT_URL{service}" for service in ("", "_KINESIS", "_DYNAMODB", "_CLOUDWATCH", "_S3"))
AWS_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")

TRIM_HORIZON = "TRIM_HORIZON"
LATEST = "LATEST"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_STREAM = re.compile(r"(arn:[a-z0-9-]+:kinesis:[a-z0-9-]+:[0-9]{12}:stream/)?[A-Za-z0-9_.-]{1,128}")
_APPLICATION = re.compile(r"[A-Za-z0-9_.-]{1,128}")  # it becomes the name of a DynamoDB table
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
_NAME_CHARACTERS_MAX = 100
_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")


class _Wrong(Exception):
    """What was expected, without the variable and the value found: `from_env` adds them."""


def _text(value: str) -> str:
    return value


def _plain(value: str) -> str:
    """Of what becomes a key or a path: line ends of Windows in a file of variables leave a carriage return in each."""
    if any(category(character) in ("Cc", "Cs") for character in value):
        raise _Wrong("text in UTF-8 without control characters")
    return value


def _folder(value: str) -> str:
    try:
        return folder_of(_plain(value))
    except ValueError as error:
        raise _Wrong(f"a folder; {error}") from None


def _bool(value: str) -> bool:
    word = value.strip().lower()
    if word not in (*_TRUE, *_FALSE):
        raise _Wrong("true or false")
    return word in _TRUE


def _integer(least: int, most: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        digits = value.strip()
        if not re.fullmatch(r"[0-9]{1,9}", digits) or not least <= int(digits) <= most:
            raise _Wrong(f"a whole number from {least} to {most}")
        return int(digits)

    return read


def _choice(*choices: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        word = value.strip().lower()
        if word not in choices:
            close = get_close_matches(word, choices, n=1)
            raise _Wrong(" or ".join(choices) + (f" (did you mean {close[0]}?)" if close else ""))
        return word

    return read


def _pattern(pattern: re.Pattern[str], expected: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if not pattern.fullmatch(value):
            raise _Wrong(expected)
        return value

    return read


def _position(value: str) -> str:
    if value.upper() in (TRIM_HORIZON, LATEST):
        return value.upper()
    if parse_time_ms(value) is None:
        raise _Wrong("TRIM_HORIZON, LATEST, or an ISO time from 2001 to 2099 such as 2026-02-16T14:30:00Z")
    return value


def _host(value: str) -> str:
    try:
        if not re.fullmatch(r"\S+", value):
            raise ValueError
        value.encode("idna")  # as who connects or listens does it: no empty label, and none over 63 characters
    except ValueError:
        raise _Wrong("a host name or an address") from None
    return value


def _http_url(value: str, example: str) -> str:
    expected = f"an http:// or https:// URL such as {example}"
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises ValueError for a port that is none
        (parts.hostname or "").encode("idna")  # as in _host
    except ValueError:
        raise _Wrong(expected) from None
    plain = value.isascii() and not any(character.isspace() or character in "?#" for character in value)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise _Wrong(expected)
    return value


def _cache_url(value: str) -> str:
    if urlsplit(_http_url(value, "https://cache.example.com")).username is not None:
        raise _Wrong(f"a URL without user and password; the key goes into {PREFIX}CACHE_API_KEY_VALUE")
    return value


def _aws_endpoint(value: str) -> str:
    return _http_url(value, "http://127.0.0.1:4566")


def _state_url(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    bucket = rest.partition("/")[0]
    fits = {"memory": rest == "", "file": rest != "", "s3": bool(_BUCKET.fullmatch(bucket))}
    if not separator or not fits.get(scheme, False):
        raise _Wrong("s3://bucket/prefix, file:///path or memory://")
    return f"file://{_folder(rest)}" if scheme == "file" else _plain(value)


def _logs_place(value: str) -> str:
    scheme, _, path = value.partition("://")
    if scheme == "file" and path:
        return f"file://{_folder(path)}"
    if not _BUCKET.fullmatch(value):
        raise _Wrong("a bucket name, without s3://, or file:///path")
    return value


def _time_zone(value: str) -> str:
    if zone_of(value) is None:
        raise _Wrong("the IANA name of a time zone, such as UTC or Europe/Berlin")
    return value


def _path_rules(value: str) -> str:
    from sa_stream.records.privacy import Path_Rules  # loads polars: only where somebody has rules

    Path_Rules.parse(value)
    return value


def _internal_hosts(value: str) -> str:
    from sa_stream.records.referrers import internal_hosts  # loads polars, as above

    internal_hosts(value)
    return value


def parse_time_ms(text: str) -> int | None:
    """Milliseconds since the epoch of an ISO time from 2001 to 2099 (UTC where it names no zone); None: it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    time_ms = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    return time_ms if TIMES_FROM_MS <= time_ms < TIMES_UNTIL_MS else None


class Setting(Struct, frozen=True):
    """One variable, without its prefix. `shown` is the default as people read it, where it is not a plain value."""

    name: str
    meaning: str
    read: Callable[[str], Any] = _text
    shown: str = ""

    @property
    def variable(self) -> str:
        return PREFIX + self.name

    @property
    def attribute(self) -> str:
        return self.name.lower()


_days = _integer(0, 36_500)
_STREAM_NAME = "a stream name (letters, digits, _ . -) or a stream ARN"
_HEADER_TEXT = "printable ASCII without spaces"

SETTINGS = (
    Setting("ENABLED", "the switch: with `false`, `run` says so and exits 0", _bool),
    Setting("SOURCE", "`kinesis` or `s3`", _choice("kinesis", "s3"), "`kinesis` if `STREAM` is set, else `s3`"),
    Setting("STREAM", "stream name or ARN", _pattern(_STREAM, _STREAM_NAME)),
    Setting(
        "APPLICATION",
        "KCL application, i.e. the name of its lease table",
        _pattern(_APPLICATION, "letters, digits, _ . - (at most 128)"),
        "`sa-stream-` and the name of `STREAM`",
    ),
    Setting("RUNNER", "who reads the shards: `kcl` or `local` (one process, no Java)", _choice("kcl", "local")),
    Setting("INITIAL_POSITION", "where a new application starts: `TRIM_HORIZON`, `LATEST`, or an ISO time", _position),
    Setting("LOGS_BUCKET", "bucket of the S3 archive; or `file:///path`, a folder of the same shape", _logs_place),
    Setting("LOGS_PREFIX", "key prefix of the S3 archive", _plain),
    Setting(
        "LOGS_LAYOUT",
        "its folders: `hours` (`2026/02/16/14/`, Firehose's default), `days` (`2026/02/16/`), `hive-hours` "
        "(`year=2026/month=02/day=16/hour=14/`), `hive-days`; `auto` looks",
        _choice(AUTO, *LAYOUTS),
    ),
    Setting("LOGS_TIME_ZONE", "time zone of its folders and names", _time_zone),
    Setting(
        "FIELDS", "`auto`, `seed`, `canonical`, or field names with commas between; several lists with `;` between"
    ),
    Setting("DROP_FIELDS", "names of fields that are in the records and must not be read, with commas between"),
    Setting(
        "ALLOW_FIELDS",
        "`c-country` if countries are to be counted (with fewer than 10 requests in an entry: under `(few)`)",
    ),
    Setting("PATH_RULES", "JSON list of `[regular expression, replacement]` pairs for ids in paths", _path_rules),
    Setting(
        "INTERNAL_HOSTS",
        "hosts of your own, with commas between: who comes from one of them, or from the host that is asked, is "
        "counted as `(internal)` among the referrers",
        _internal_hosts,
    ),
    Setting("DEAD_LETTER_TEXT", "keep the scrubbed text of malformed records", _bool),
    Setting("DEAD_LETTER_DAYS", "dead letters are deleted after so many days", _integer(1, 3_650)),
    Setting("RETAIN_RAW_DAYS", "`archive` prunes results of ingestion so many days after their day; 0: never", _days),
    Setting("RETAIN_CONSOLIDATED_DAYS", "... consolidation results, so many days after their day; 0: never", _days),
    Setting("RETAIN_30MIN_DAYS", "... entries of half hours, so many days after their day; 0: never", _days),
    Setting("RETAIN_HOURLY_DAYS", "... entries of hours, so many days after their day; 0: never", _days),
    Setting("RETAIN_DAILY_DAYS", "... entries of days, so many days after their month; 0: never", _days),
    Setting("SAMPLING_PERCENT", "the sampling rate that the distribution is set to", _integer(1, 100)),
    Setting("CACHE_URL", "URL of the cache service; without one it runs in this process", _cache_url),
    Setting(
        "CACHE_API_KEY_NAME",
        "header that carries the cache service's API key",
        _pattern(_HEADER_NAME, "a header name such as x-api-key"),
    ),
    Setting("CACHE_API_KEY_VALUE", "the cache service's API key", _pattern(_HEADER_VALUE, _HEADER_TEXT)),
    Setting(
        "CACHE_MODE",
        "of the cache service in this process: `local_disk` or `memory`",
        _choice("local_disk", "memory"),
    ),
    Setting("CACHE_PATH", "folder of `local_disk`", _folder),
    Setting(
        "STATE_URL",
        "the state store: `s3://bucket/prefix`, `file:///path` or `memory://`",
        _state_url,
    ),
    Setting("COMMIT_INTERVAL_S", "seconds between commits", _integer(1, 1800)),
    Setting("OUT_OF_ORDERNESS_S", "how far the watermark stays behind the newest record", _integer(0, 86_400)),
    Setting(
        "ALLOWED_LATENESS_S", "a record later than this after its window's end is dropped", _integer(0, 31 * 86_400)
    ),
    Setting("DEDUPE_HORIZON_S", "how long a request id is remembered (whole minutes, rounded up)", _integer(0, 86_400)),
    Setting(
        "REPAIR_AFTER_S",
        "a window that is not final so long after its end is repaired from the archive, if what it lacks is lost, or "
        "stands still for as long",
        _integer(60, 31 * 86_400),
    ),
    Setting(
        "S3_SETTLE_S",
        "how long files of a window may take to land in the archive; without a stream it is computed then",
        _integer(0, 86_400),
    ),
    Setting(
        "MEMORY_LIMIT_MB",
        "ceiling for the memory of this process; near it summaries shrink, then reading pauses",
        _integer(0, 1_000_000),
        "what the cgroup allows, less the JVM's share",
    ),
    Setting(
        "NATIVE",
        "the native kernel, which reads ordinary records: `auto` uses it where it was built, `off` does not, `require` "
        "stops where it cannot be had. It changes the speed and nothing else",
        _choice("auto", "off", "require"),
    ),
    Setting("WORK_DIR", "folder of this container's own things (the KCL's worker id and properties)", _folder),
    Setting(
        "HANG_TIMEOUT_S", "without a sign of life for this long the process is killed and restarted", _integer(5, 3600)
    ),
    Setting("HTTP_HOST", "address that the HTTP server binds to", _host),
    Setting("HTTP_PORT", "its port; 0 takes any free one", _integer(0, 65_535)),
    Setting(
        "API_KEY",
        "key of the API, sent in the header `x-api-key`; without one all of `/api/sa/` is answered by 401. Where "
        "`HTTP_HOST` is more than this machine, the details of health need it too",
        _pattern(_HEADER_VALUE, _HEADER_TEXT),
    ),
    Setting("LOG_LEVEL", "`debug`, `info`, `warning` or `error`", _choice("debug", "info", "warning", "error")),
    Setting("LOG_FORMAT", "`json` or `text`", _choice("json", "text"), "`json`, on a terminal `text`"),
)


class SA__Config(Type_Safe):
    """Every setting under its variable's name in lower case; plain `str` and `int`, which keep what they are given."""

    # fmt: off
    enabled             : bool = True
    source              : str  = ''
    stream              : str  = ''
    application         : str  = ''                 # empty: of the stream's name
    runner              : str  = 'kcl'
    initial_position    : str  = TRIM_HORIZON
    logs_bucket         : str  = ''
    logs_prefix         : str  = 'cloudfront-realtime'
    logs_layout         : str  = AUTO
    logs_time_zone      : str  = 'UTC'
    fields              : str  = 'auto'
    drop_fields         : str  = ''
    allow_fields        : str  = ''
    path_rules          : str  = ''
    internal_hosts      : str  = ''
    dead_letter_text    : bool = False
    dead_letter_days    : int  = 30
    retain_raw_days     : int  = 7
    retain_consolidated_days : int = 90
    retain_30min_days   : int  = 30
    retain_hourly_days  : int  = 90
    retain_daily_days   : int  = 365
    sampling_percent    : int  = 100
    cache_url           : str  = ''
    cache_api_key_name  : str  = 'x-api-key'
    cache_api_key_value : str  = ''
    cache_mode          : str  = 'local_disk'
    cache_path          : str  = './.sa-stream/cache'
    state_url           : str  = 'file://./.sa-stream/state'
    commit_interval_s   : int  = 60
    out_of_orderness_s  : int  = 60
    allowed_lateness_s  : int  = 86_400
    dedupe_horizon_s    : int  = 600
    repair_after_s      : int  = 900
    s3_settle_s         : int  = 900
    memory_limit_mb     : int  = 0                  # 0: from the cgroup
    native              : str  = 'auto'
    work_dir            : str  = './.sa-stream'
    hang_timeout_s      : int  = 60
    http_host           : str  = '127.0.0.1'
    http_port           : int  = 8080
    api_key             : str  = ''
    log_level           : str  = 'info'
    log_format          : str  = ''                 # empty: json, on a terminal text
    # fmt: on

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "SA__Config":
        """The settings that an environment asks for; an empty variable counts as not set.

        Raises Config_Error (its sentence names the variable, what was expected and what was found) for a value that
        cannot work and for a variable that is no setting; Field_List_Error for field lists.
        """
        hide_secrets(env)
        _refuse_unknown(env)
        for variable in AWS_ENDPOINTS:  # what reads them panics, or shows a traceback, over one that is none
            if env.get(variable):
                _checked(variable, _aws_endpoint, env[variable])
        config = cls()
        for setting in SETTINGS:
            value = env.get(setting.variable, "")
            if value:
                secret = setting.attribute in SECRETS
                setattr(config, setting.attribute, _checked(setting.variable, setting.read, value, secret))
        # A name of its own for each stream: two streams in one lease table would lose each other's shards.
        own_name = f"sa-stream-{config.stream.rpartition('/')[2]}" if config.stream else "sa-stream"
        config.application = config.application or own_name
        config.source = config.source or ("kinesis" if config.stream else "s3")
        config.field_lists()
        return config

    def require_input(self) -> None:
        """Raises Config_Error when there is nothing to read from."""
        if self.source == "kinesis" and not self.stream:
            raise Config_Error(f"{PREFIX}SOURCE is kinesis, but {PREFIX}STREAM is not set: name the stream to read.")
        if self.source == "s3" and not self.logs_bucket:
            if self.stream:
                raise Config_Error(
                    f"{PREFIX}SOURCE is s3, but {PREFIX}LOGS_BUCKET is not set: set {PREFIX}LOGS_BUCKET to the bucket "
                    f"of the archive, or {PREFIX}SOURCE to kinesis."
                )
            raise Config_Error(
                f"There is nothing to read from: set {PREFIX}STREAM to the Kinesis stream of your real-time logs "
                f"(or {PREFIX}LOGS_BUCKET to the bucket of an S3 archive)."
            )

    def require_stream(self) -> None:
        """Raises Config_Error when no stream is named, for what is about one whatever else could be read."""
        if not self.stream:
            raise Config_Error(f"{PREFIX}STREAM is not set: name the Kinesis stream of your real-time logs.")

    def timing(self, retention_ms: int = DAY_MS) -> Timing:
        """What pure code gets of the durations. retention_ms: how long the stream keeps its records."""
        return Timing(
            out_of_orderness_ms=self.out_of_orderness_s * 1000,
            allowed_lateness_ms=self.allowed_lateness_s * 1000,
            dedupe_horizon_minutes=-(-self.dedupe_horizon_s // 60),
            retention_ms=retention_ms,
            commit_interval_ms=self.commit_interval_s * 1000,
        )

    def field_lists(self) -> Field_Lists:
        """What each field of a line is, as far as the settings say. Raises Field_List_Error."""
        return resolve_field_lists(self.fields, self.drop_fields, self.allow_fields)

    def intake(self, lists: Field_Lists) -> "Intake":
        """How records of these lists are read, and what of them is kept."""
        from sa_stream.records.intake import Intake
        from sa_stream.records.privacy import Path_Rules
        from sa_stream.records.referrers import internal_hosts

        rules, internal = Path_Rules.parse(self.path_rules), internal_hosts(self.internal_hosts)
        return Intake(lists, rules, self.dead_letter_text, internal)

    def initial_position_ms(self) -> int | None:
        """The time to start at; None for TRIM_HORIZON and LATEST."""
        return parse_time_ms(self.initial_position)

    def json(self) -> dict[str, Any]:
        """Every setting; secrets hidden."""
        values = {setting.attribute: getattr(self, setting.attribute) for setting in SETTINGS}
        return values | {name: HIDDEN for name in SECRETS if values[name]}

    def __repr__(self) -> str:
        return f"SA__Config({', '.join(f'{name}={value!r}' for name, value in self.json().items())})"

    __str__ = __repr__


def _checked(variable: str, read: Callable[[str], Any], value: str, secret: bool = False) -> Any:
    try:
        return read(value)
    except _Wrong as wrong:
        secret = secret or "@" in value.partition("://")[2]  # perhaps a password, in a URL that is none
        found = "another value" if secret else as_found(value)
        raise Config_Error(f"{variable}: expected {wrong}, found {found}.") from None


def hide_secrets(env: Mapping[str, str]) -> None:
    """Let no sentence of this process show what is secret in its environment."""
    hide(*(env.get(PREFIX + name.upper(), "") for name in SECRETS), *(env.get(name, "") for name in FOREIGN_SECRETS))
    hide_passing(env.get(name, "") for name in AWS_SECRETS)


def _refuse_unknown(env: Mapping[str, str]) -> None:
    known = sorted(setting.name for setting in SETTINGS)
    for variable in sorted(env):
        name = variable.removeprefix(PREFIX)
        if variable.startswith(PREFIX) and name not in known and not variable.startswith(RESERVED_PREFIX):
            close = get_close_matches(name.upper(), known, n=1)  # without the prefix, which makes all of them alike
            hint = f"did you mean {PREFIX}{close[0]}?" if close else "docs/settings.md has them all."
            raise Config_Error(f"{quoted(variable, _NAME_CHARACTERS_MAX)} is not a setting: {hint}")


def settings_table() -> str:
    """The table of docs/settings.md: name, default, meaning, in Markdown."""
    defaults = SA__Config()
    rows = ["| name | default | meaning |", "| --- | --- | --- |"]
    for setting in SETTINGS:
        value = getattr(defaults, setting.attribute)
        plain = str(value).lower() if isinstance(value, bool) else str(value)
        default = setting.shown or (f"`{plain}`" if plain else "")
        rows.append(f"| `{setting.name}` | {default} | {setting.meaning} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(settings_table())
