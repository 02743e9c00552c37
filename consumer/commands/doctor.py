"""`sa-stream doctor`: an environment comes in, one line a check goes out: what works, or what is wrong and which
setting to change. It reads and writes only what the daemon would (its object in the state store is removed again)."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from consumer.commands.status import fetch_health
from consumer.kcl.check import check_java, check_leases
from consumer.kcl.properties import kcl_properties
from consumer.process.terminal import printable
from sa_stream.api.http_server import listen
from sa_stream.config import PREFIX, SA__Config
from sa_stream.errors import Config_Error, In_Use, SA_Stream_Error, Source_Error
from sa_stream.partitions import Shard_Info
from sa_stream.records.decoder import portions
from sa_stream.records.field_finder import First_Records, decide
from sa_stream.records.fields import preset_name, resolve_field_lists, result_field
from sa_stream.records.parser import Parser
from sa_stream.secrecy import without_secrets
from sa_stream.sources.kinesis_reader import Kinesis_Reader, Shard_Reader
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import CLOCK_OFF_MS_MAX, HOUR_MS, moment, wall_clock_ms

SAMPLE_RECORDS = 200
SAMPLE_SECONDS = 10.0  # how long to look for records; a quiet stream has none to show
MALFORMED_SHARE_MAX = 0.5


@dataclass(slots=True, frozen=True)
class Check:
    """One thing that was looked at. `sentence` says what was found or what to change."""

    name: str
    ok: bool
    sentence: str


def doctor(env: Mapping[str, str], as_json: bool = False) -> bool:
    """Print every check as it is made; returns whether all are fine."""
    checks = []
    for check in examine(env):
        checks.append(check)
        if not as_json:
            print(f"{_mark(check.ok)} {check.name}: {printable(check.sentence)}", flush=True)
    if as_json:
        print(json.dumps([{"name": check.name, "ok": check.ok, "sentence": check.sentence} for check in checks]))
    return all(check.ok for check in checks)


def _mark(ok: bool) -> str:
    """What this terminal can show: not every locale has more than ASCII."""
    try:
        "✓✗".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "ok   " if ok else "WRONG"
    return "✓" if ok else "✗"


def examine(env: Mapping[str, str]) -> Iterator[Check]:
    """The checks, in the order in which a record passes what they look at; a wrong configuration ends them."""
    try:
        config = SA__Config.from_env(env)
        config.require_input()
        if config.runner == "kcl":
            kcl_properties(config, env)
    except SA_Stream_Error as error:
        yield Check("configuration", False, str(error))
        return
    source = f"stream {config.stream}" if config.source == "kinesis" else f"bucket {config.logs_bucket}"
    yield Check("configuration", True, f"every setting is valid; the source is the {source}")
    if config.source == "kinesis":
        yield from _stream(config)
        if config.runner == "kcl":
            yield _checked("java", lambda: check_java(env))
            yield _checked("leases", lambda: check_leases(config))
    yield _checked("state store", lambda: _state(config))
    yield _checked("cache service", lambda: _cache(config))
    yield _checked("http", lambda: _http(config))


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except (SA_Stream_Error, OSError) as error:
        return Check(name, False, without_secrets(str(error)))


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
        return f"{len(payloads)} records read" if payloads else "readable, but no records came: is there traffic?"

    def clock() -> str:
        offset_ms = reader.clock.offset_ms
        if abs(offset_ms) > CLOCK_OFF_MS_MAX:
            side = "behind" if offset_ms > 0 else "ahead of"
            raise Source_Error(
                f"this machine's clock is {abs(offset_ms) // 1000} s {side} Kinesis's: set it (NTP), as idle shards "
                "close windows by it"
            )
        return "agrees with Kinesis's to a few seconds"

    try:
        reader = Kinesis_Reader(config.stream)
    except SA_Stream_Error as error:
        yield Check("stream", False, str(error))
        return
    for name, look in (("stream", describe), ("records", look_for_records), ("clock", clock)):
        check = _checked(name, look)
        yield check
        if not check.ok and name != "clock":
            return
    if payloads:
        yield _checked("fields", lambda: field_order(config, payloads))


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


def field_order(config: SA__Config, payloads: Sequence[bytes]) -> str:
    """Which field list reads these records. Raises Field_List_Error if `auto` cannot tell, Config_Error if the
    configured lists do not fit."""
    records = First_Records.of(payload for portion in portions(payloads) for payload in portion.payloads)
    lists = decide(resolve_field_lists(config.fields, config.drop_fields), records)
    malformed = total = 0
    for columns in Parser(lists).portions(payloads, np.full(len(payloads), wall_clock_ms(), np.int64)):
        malformed += len(columns.dropped)
        total += len(columns) + len(columns.dropped)
    if malformed > MALFORMED_SHARE_MAX * total:
        raise Config_Error(
            f"{PREFIX}FIELDS does not fit: {malformed} of {total} records are malformed under it. Set it to the field "
            "names of your real-time log configuration, in the order in which they come."
        )
    named = " and ".join(f"{preset_name(fields)} ({fields.count} fields)" for fields in lists.lists)
    results = result_field(lists.offered) or "no field of the list"
    return f"read as {named}, hit rates from {results}; {total - malformed} of {total} records are well-formed"


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
