"""`sa-stream doctor`: an environment comes in, one line a check goes out: what works, or what is wrong and which
setting to change. It reads and writes only what the daemon would (its object in the state store is removed again)."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import asdict

from consumer.commands.doctor_archive import archive_checks
from consumer.commands.doctor_check import SAMPLE_RECORDS, Check, Warned, checked, clock_of, field_order
from consumer.commands.status import fetch_health
from consumer.kcl.check import check_java, check_leases
from consumer.kcl.properties import kcl_properties
from consumer.process.terminal import printable
from sa_stream import native
from sa_stream.api.http_server import listen
from sa_stream.config import SA__Config
from sa_stream.errors import In_Use, SA_Stream_Error
from sa_stream.partitions import Shard_Info
from sa_stream.sources.kinesis_reader import Kinesis_Reader, Shard_Reader
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import HOUR_MS, moment, wall_clock_ms

SAMPLE_SECONDS = 10.0  # how long to look for records; a quiet stream has none to show


def doctor(env: Mapping[str, str], as_json: bool = False) -> bool:
    """Print every check as it is made; returns whether all are fine."""
    checks = []
    for check in examine(env):
        checks.append(check)
        if not as_json:
            print(f"{_mark(check)} {check.name}: {printable(check.sentence)}", flush=True)
    if as_json:
        print(json.dumps([asdict(check) for check in checks]))
    return all(check.ok for check in checks)


def _mark(check: Check) -> str:
    """What this terminal can show: not every locale has more than ASCII."""
    try:
        "✓✗".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "WRONG" if not check.ok else "look " if check.warning else "ok   "
    return "✗" if not check.ok else "!" if check.warning else "✓"


def examine(env: Mapping[str, str]) -> Iterator[Check]:
    """The checks, in the order in which a record passes what they look at; a wrong configuration ends them."""
    try:
        config = SA__Config.from_env(env)
        config.require_input()
        if config.source == "kinesis" and config.runner == "kcl":
            kcl_properties(config, env)
    except SA_Stream_Error as error:
        yield Check("configuration", False, str(error))
        return
    archive = f"the archive {config.logs_bucket}"
    repaired = f", repaired from {archive}" if config.logs_bucket else ""
    source = f"the stream {config.stream}{repaired}" if config.source == "kinesis" else archive
    yield Check("configuration", True, f"every setting is valid; the source is {source}")
    yield Check("kernel", True, _kernel(), warning=not native.AVAILABLE and config.native != native.OFF)
    if config.source == "kinesis":
        yield from _stream(config)
        if config.runner == "kcl":
            yield checked("java", lambda: check_java(env))
            yield checked("leases", lambda: check_leases(config, env))
    if config.logs_bucket:
        yield from archive_checks(config)
    yield checked("state store", lambda: _state(config))
    yield checked("cache service", lambda: _cache(config))
    yield checked("http", lambda: _http(config))


def _kernel() -> str:
    if native.AVAILABLE:
        return f"ordinary records are read by the native kernel, level {native.LEVEL}"
    return f"all records are read by Python, which is right and slower: {native.REASON}"


def _stream(config: SA__Config) -> Iterator[Check]:
    shards: list[Shard_Info] = []
    payloads: list[bytes] = []

    def describe() -> str:
        info = reader.describe()
        shards.extend(reader.list_shards())
        opened = sum(not shard.closed for shard in shards)
        return f"{info.name} has {opened} open shards and keeps records for {info.retention_ms // HOUR_MS} h"

    def look_for_records() -> str:
        payloads.extend(sample(reader, shards))
        if not payloads:
            return Warned("readable, but no records came: is there traffic?")
        return f"{len(payloads)} records read"

    def clock() -> str:
        return clock_of("Kinesis", reader.clock)

    try:
        reader = Kinesis_Reader(config.stream)
    except SA_Stream_Error as error:
        yield Check("stream", False, str(error))
        return
    for name, look in (("stream", describe), ("records", look_for_records), ("clock", clock)):
        check = checked(name, look)
        yield check
        if not check.ok and name != "clock":
            return
    if payloads:
        yield checked("fields", lambda: field_order(config, payloads))


def sample(reader: Kinesis_Reader, shards: Sequence[Shard_Info]) -> list[bytes]:
    """Payloads of the last hour, from whichever shard has some."""
    since_ms = wall_clock_ms() - HOUR_MS
    pending = [Shard_Reader(reader, shard.shard_id, f"AT_TIMESTAMP:{since_ms}") for shard in shards if not shard.closed]
    payloads: list[bytes] = []
    give_up = time.monotonic() + SAMPLE_SECONDS
    while pending and len(payloads) < SAMPLE_RECORDS and time.monotonic() < give_up:
        now = moment()
        shard = min(pending, key=lambda waiting: waiting.wait_ms(now))
        time.sleep(shard.wait_ms(now) / 1000)
        batch = shard.read(moment())
        if batch is not None:
            payloads.extend(batch.payloads)
        if batch is None or batch.millis_behind_latest == 0:
            pending.remove(shard)
    return payloads[:SAMPLE_RECORDS]


def _state(config: SA__Config) -> str:
    State_Store(config.state_url).check()
    return f"{config.state_url} can be written, read and deleted from"


def _cache(config: SA__Config) -> str:
    from consumer.worker.stores import open_cache

    open_cache(config).check()
    return f"{config.cache_url} answers" if config.cache_url else f"in this process ({config.cache_mode}), readable"


def _http(config: SA__Config) -> str:
    try:
        listen(config.http_host, config.http_port).close()
    except In_Use:
        health = fetch_health(config)  # in use by whom? its errors say it is not ours
        state = "ready" if health.get("ready") else f"not ready: {'; '.join(health.get('reasons', []))}"
        return f"a daemon runs at port {config.http_port} and is {state}"
    return f"{config.http_host}:{config.http_port} is free"
