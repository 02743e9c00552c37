"""What the API takes for a week by half hours, of a cache service that was not asked before; and what many readers wait
for, and cost, beside an engine that has all it can do."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.engine import engine
from benchmarks.measure import ROOT, call
from sa_stream.api.http_server import Health_Server
from sa_stream.api.mounting import mount_api
from sa_stream.config import SA__Config
from sa_stream.health.notebook import Health
from sa_stream.rollups.periods import cache_key, end_of, iso
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.services.Service__SA__Cache import Service__SA__Cache
from sa_stream.services.Service__SA__Traffic import Service__SA__Traffic
from sa_stream.services.traffic_metrics import IN_SLOTS
from sa_stream.storage.cache_clients import cache_client__in_process
from sa_stream.timing import DAY_MS, MINUTE_MS, WINDOW_MS, moment

NOW_MS = 1_771_252_200_000 + 10 * MINUTE_MS  # 2026-02-16T14:40Z
DAYS = 8  # a week that does not begin at midnight touches as many
REMOTE_MS = 30  # what a cache service elsewhere may take for an answer
CLIENTS = 50
POLL_S = 10  # how often a dashboard asks
KEY = "of the benchmark"
CASES = ("api-week", "api-week-reads", "api-week-remote", "api-warm")


def measured(rounds: int) -> Iterator[tuple[str, float, str, float, str]]:
    """(case, value, unit, most, detail) of each of CASES."""
    ran, _ = call(week, rounds)
    clock = f"CPU; by the clock {median(ran['cold_clock_ms']):.0f} ms"
    yield "api-week", median(ran["cold_ms"]), "ms", 150, clock
    yield "api-week-reads", max(ran["reads"]), "reads", 10, ""
    remote = f"by the clock, of a cache service that takes {REMOTE_MS} ms for each answer, its work for it included"
    yield "api-week-remote", median(ran["remote_clock_ms"]), "ms", 150, remote
    yield "api-warm", median(ran["warm_ms"]), "ms", 100, "CPU"


def _week_of_entries() -> Any:
    cache = cache_client__in_process("memory")
    first_ms = (NOW_MS // DAY_MS - DAYS + 1) * DAY_MS
    for start_ms in range(first_ms, NOW_MS, DAY_MS):
        cache.store_entry(NS_SA_AGGREGATE, cache_key("daily", start_ms), _day(start_ms))
    for start_ms in range(NOW_MS // DAY_MS * DAY_MS, NOW_MS, WINDOW_MS):
        cache.store_entry(NS_SA_AGGREGATE, cache_key("30min", start_ms), _about("30min", start_ms))
    return cache


def week(rounds: int) -> dict[str, list[float]]:
    """Of each round `cold_ms` and `warm_ms`, CPU of all threads; `reads` of the cache service; `cold_clock_ms` and
    `remote_clock_ms`, with a cache service in this process and with one that is far away."""
    cache = _week_of_entries()
    found: dict[str, list[float]] = {name: [] for name in ("cold", "warm", "cold_clock", "remote_clock")}
    reads: list[float] = []
    for _ in range(rounds):
        near, far = _Counted(cache), _Counted(cache, REMOTE_MS / 1000)
        traffic = Service__SA__Traffic(cache=Service__SA__Cache(send_cache_client=near))
        for name, asked in (("cold", traffic), ("warm", traffic)):
            clock_ms, cpu_ms = _ask_for_week(asked)
            found[name].append(cpu_ms)
            if name == "cold":
                found["cold_clock"].append(clock_ms)
        reads.append(near.reads)
        remote = Service__SA__Traffic(cache=Service__SA__Cache(send_cache_client=far))
        found["remote_clock"].append(_ask_for_week(remote)[0])
    return {f"{name}_ms": times for name, times in found.items()} | {"reads": reads}


def _ask_for_week(traffic: Service__SA__Traffic) -> tuple[float, float]:
    """How long it took, in ms by the clock and of CPU."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    answer = traffic.timeseries({"from": iso(NOW_MS - 7 * DAY_MS), "period": "30min"}, NOW_MS)
    taken = 1000 * (time.perf_counter() - began_s), 1000 * (time.process_time() - began_cpu_s)
    if len(answer["rows"]) != 7 * 48 + 1 or None in (row[1] for row in answer["rows"]):
        raise RuntimeError(f"{len(answer['rows'])} half hours came, or some of them without requests")
    return taken


class _Counted:
    """answer_s  how long it takes for an answer at least, the work that it does for it included."""

    def __init__(self, cache: Any, answer_s: float = 0) -> None:
        self._cache, self._answer_s, self.reads = cache, answer_s, 0

    def retrieve_entry(self, namespace: str, key: str) -> Any:
        self.reads += 1
        began_s = time.perf_counter()
        answer = self._cache.retrieve_entry(namespace, key)
        time.sleep(max(0.0, self._answer_s - (time.perf_counter() - began_s)))
        return answer


# ---------------------------------------------------------------------- readers beside the engine


def beside_engine(folder: Path, records: int, seconds: float) -> dict[str, float]:
    """The engine of the engine cases again and again for so long, alone and with readers of the API of its own process:
    records/s `alone` and `beside` them, `answers` and how long these waited."""
    cache = _week_of_entries()
    server = Health_Server(
        Health(moment()),
        port=0,
        mount=lambda app: mount_api(app, SA__Config(api_key=KEY), cache, now_ms=lambda: NOW_MS),
    )
    try:
        engine(str(folder), records, 10_000, 1)  # until all is loaded
        alone = [_rate(folder, records, seconds / 4)]
        clients = _clients(server.port, seconds)
        clients.stdout.readline()  # type: ignore[union-attr] # warm
        beside = _rate(folder, records, seconds)
        waited_ms = json.loads(clients.communicate(timeout=60)[0])
        alone.append(_rate(folder, records, seconds / 4))
    finally:
        server.stop()
    p95_ms = quantiles(waited_ms, n=20)[-1]
    return {
        "alone": sum(alone) / 2,
        "beside": beside,
        "answers": len(waited_ms),
        "p95_ms": p95_ms,
        "median_ms": median(waited_ms),
    }


def _rate(folder: Path, records: int, seconds: float) -> float:
    """Records/s, by the clock of the runs themselves."""
    until_s, received, taken_s = time.perf_counter() + seconds, 0, 0.0
    while time.perf_counter() < until_s:
        ran = engine(str(folder), records, 10_000, 1)
        received, taken_s = received + ran["records"], taken_s + ran["seconds"]
    return received / taken_s


def _clients(port: int, seconds: float) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", f"from benchmarks.reading import ask; ask({port}, {seconds})"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    os.sched_setaffinity(process.pid, range(os.cpu_count() or 1))
    return process


def ask(port: int, seconds: float) -> None:
    """Says so when the server is warm; then what each answer took, in ms, when all clients have asked for so long."""
    waited_ms: list[float] = []
    poll_s = min(POLL_S, seconds / 6)
    addresses = ("/api/sa/traffic/summary", f"/api/sa/traffic/timeseries?from={iso(NOW_MS - 7 * DAY_MS)}&period=30min")

    def client(number: int) -> None:
        etags: dict[str, str] = {}
        time.sleep(number * poll_s / CLIENTS)
        until_s = time.perf_counter() + seconds
        while time.perf_counter() < until_s:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            for address in addresses:
                known = {"If-None-Match": etags[address]} if address in etags else {}
                began_s = time.perf_counter()
                connection.request("GET", address, headers={"x-api-key": KEY} | known)
                answer = connection.getresponse()
                answer.read()
                waited_ms.append(1000 * (time.perf_counter() - began_s))
                if answer.status not in (200, 304):
                    raise RuntimeError(f"{address} was answered with {answer.status}")
                etags[address] = answer.headers["ETag"]
            connection.close()
            time.sleep(poll_s)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    print("warm", flush=True)
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    print(json.dumps(waited_ms))


def _about(period: str, start_ms: int) -> dict[str, Any]:
    ended = end_of(period, start_ms) < NOW_MS
    return {
        "period": period,
        "window_start": iso(start_ms),
        "status": "final" if ended else "partial",
        "computed_at": iso(min(end_of(period, start_ms), NOW_MS - MINUTE_MS)),
        "provenance": "stream",
        "total_requests": 5_000,
        "total_bytes": 10_000_000,
        "result_types": {"Hit": 3_000},
        "top_paths": [{"path": f"/a/path/of/some/length/{number}", "count": number} for number in range(100)],
        "agents": {f"a name of about this length {number}": number for number in range(1_000)},
    }


def _day(start_ms: int) -> dict[str, Any]:
    """Of about 60 KB, as those of an entry are at most."""
    states = ["final" if start_ms + place * WINDOW_MS + WINDOW_MS < NOW_MS else "partial" for place in range(48)]
    columns = {name: [100] * 48 for name in IN_SLOTS} | {"state": states, "reason": [None] * 48}
    return {**_about("daily", start_ms), "per_half_hour": columns}
