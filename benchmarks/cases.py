"""The cases and their targets: groups of measurements, each of which gives one or several lines of the report."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import Struct

from benchmarks import (
    archive,
    backfill,
    bounded,
    closing,
    data,
    engine,
    growth,
    kcl_daemon,
    kcl_links,
    local_runner,
    measure,
    reading,
    rivals,
    shards,
)
from benchmarks.sizes import FULL, Sizes
from sa_stream import native

MB = 1_000_000
WITHOUT_KERNEL = {native.SETTING: native.OFF}
KERNEL = f"level {native.LEVEL}" if native.AVAILABLE else f"there is none ({native.REASON})"


class Line(Struct):
    """One line of the report. `detail` is for readers of the document, and the reason where a target is missed."""

    case: str
    value: float
    unit: str
    target: str
    met: bool
    baseline: float | None = None
    ratio: float | None = None
    detail: str = ""

    def to_json(self) -> str:
        keys = ("case", "value", "unit", "baseline", "ratio", "target", "met")
        line = {key: getattr(self, key) for key in keys}
        return json.dumps(line if self.met else line | {"reason": self.detail})


class Bench(Struct):
    """What the groups share: sizes, a folder to work in, and the input, made when it is first needed."""

    sizes: Sizes
    folder: Path
    made: data.Data | None = None

    def folder_of(self, name: str) -> Path:
        """A folder of its own."""
        made = self.folder / name
        made.mkdir(exist_ok=True)
        return made

    def data(self) -> data.Data:
        if self.made is None:
            self.made = data.make(self.folder, self.sizes.records, (10_000, 1_000))
        return self.made


def at_least(case: str, value: float, unit: str, least: float, detail: str = "") -> Line:
    return Line(case, round(value, 1), unit, f">= {least:g}", value >= least, detail=detail)


def at_most(case: str, value: float, unit: str, most: float, detail: str = "") -> Line:
    return Line(case, round(value, 3), unit, f"<= {most:g}", value <= most, detail=detail)


def compared(
    case: str,
    rates: Sequence[float],
    baselines: Sequence[float],
    least: float,
    detail: str = "",
) -> Line:
    """Rates of the same rounds; the ratio is the median of the rounds' ratios."""
    ratio = statistics.median(rate / baseline for rate, baseline in zip(rates, baselines, strict=True))
    return Line(
        case,
        round(statistics.median(rates)),
        "records/s",
        f"ratio >= {least:g}",
        ratio >= least,
        round(statistics.median(baselines)),
        round(ratio, 3),
        detail,
    )


# ---------------------------------------------------------------------- throughput


def engines(bench: Bench) -> Iterator[Line]:
    made = bench.data()
    large, usual = 10_000, 1_000
    big: list[dict[str, Any]] = []
    top: list[dict[str, Any]] = []
    bare: list[dict[str, Any]] = []
    small: list[dict[str, Any]] = []
    big_off: list[dict[str, Any]] = []
    small_off: list[dict[str, Any]] = []
    for _ in range(bench.sizes.rounds):
        for ran, size, shards_ in ((big_off, large, 1), (small_off, usual, 16)):
            off = measure.call(engine.engine, str(made.folder), made.count, size, shards_, **WITHOUT_KERNEL)[0]
            ran.append(_checked(off, made.count))
        big.append(_checked(measure.call(engine.engine, str(made.folder), made.count, large, 1)[0], made.count))
        top.append(_checked(measure.call(engine.query, str(made.folder), made.count, large)[0], made.count))
        bare.append(_checked(measure.call(engine.bare_read, str(made.folder), made.count, large)[0], made.count))
        small.append(_checked(measure.call(engine.engine, str(made.folder), made.count, usual, 16)[0], made.count))
    rates, ceilings, reads, spread, rates_off, spread_off = (
        [ran["records"] / ran["cpu_s"] for ran in rans] for rans in (big, top, bare, small, big_off, small_off)
    )
    share = statistics.median(a / b for a, b in zip(rates, reads, strict=True))
    reach = (
        f"{_clock(big)}; the least one can do, the same decode with read_csv and requests and bytes per path, makes "
        f"{statistics.median(reads):,.0f} records/s here, of which this is {share:.2f}"
    )
    yield at_least("engine-10k", statistics.median(rates), "records/s", 500_000, reach)
    yield compared(
        "engine-10k-of-ceiling",
        rates,
        ceilings,
        0.8,
        f"ceiling: the same decode, and one polars query for the same numbers; {_clock(top)}",
    )
    yield compared("engine-10k-native", rates, rates_off, 2.7, f"baseline: without the kernel; {KERNEL}")
    yield compared("engine-16-shards", spread, rates, 0.8, _clock(small))
    yield compared("engine-16-shards-native", spread, spread_off, 2.0, "baseline: without the kernel")
    p99_ms = statistics.median(ran["message_p99_ms"] for ran in small)
    clock_ms = statistics.median(ran["message_p99_clock_ms"] for ran in small)
    yield at_most("engine-16-shards-p99", p99_ms, "ms", 40, f"{clock_ms:.0f} ms by the clock")


def many_children(bench: Bench) -> Iterator[Line]:
    made, children = bench.data(), 64
    one: list[dict[str, Any]] = []
    many: list[dict[str, Any]] = []
    for _ in range(bench.sizes.rounds):
        one.append(_checked(measure.call(engine.engine, str(made.folder), made.count, 10_000, 1)[0], made.count))
        ran = measure.call(kcl_links.many_children, str(made.folder), made.count, 10_000, children)[0]
        many.append(_checked(ran, made.count))
    rates, baselines = ([ran["records"] / ran["cpu_s"] for ran in rans] for rans in (many, one))
    yield compared("engine-64-children", rates, baselines, 0.85, _clock(many))


def replays(bench: Bench) -> Iterator[Line]:
    made = bench.data()
    ours: list[measure.Ran] = []
    bare: list[measure.Ran] = []
    duck: list[measure.Ran] = []
    loop: list[measure.Ran] = []
    objects: list[dict[str, Any]] = []
    for round_number in range(bench.sizes.rounds):
        ran = measure.run([*measure.REPLAY, str(made.lines)])
        ours.append(ran)
        bare.append(measure.call(rivals.bare_polars, made.lines)[1])
        if round_number >= 3:  # these are far off; three rounds tell
            continue
        for rival, rans in ((rivals.duck, duck), (rivals.loop, loop)):
            found, rival_ran = measure.call(rival, made.lines)
            rans.append(rival_ran)
            _agree(rival.__name__, _by_window(ran.output), found)
        objects.append(measure.call(rivals.objects, made.lines, bench.sizes.objects)[0])
    rates = [made.count / ran.cpu_s for ran in ours]
    wall_s = statistics.median(ran.seconds for ran in ours)
    peak_mb = statistics.median(ran.peak_bytes for ran in ours) / MB
    start_s = measure.run([*measure.REPLAY, str(_beginning(made.lines))]).cpu_s
    start = f"{start_s:.2f} s of {statistics.median(ran.cpu_s for ran in ours):.2f} s are the start of the process"
    detail = f"{start}; {wall_s:.1f} s by the clock, {peak_mb:.0f} MB at most"
    yield compared("replay-1M", rates, [made.count / ran.cpu_s for ran in bare], 1.3, detail)
    few = rates[: len(duck)]
    same = f"same windows, totals, classes, top paths; {start}"
    yield compared("replay-to-duckdb", few, [made.count / ran.cpu_s for ran in duck], 1.9, same)
    yield compared("replay-to-loop", few, [made.count / ran.cpu_s for ran in loop], 2, same)
    rates_of_objects = [ran["records"] / ran["cpu_s"] for ran in objects]
    yield compared("replay-to-objects", few, rates_of_objects, 100, f"{bench.sizes.objects} objects, not aggregated")


def replays_on_two_cores(bench: Bench) -> Iterator[Line]:
    sizes, folder = bench.sizes, bench.folder_of("bounded")
    for ran in bounded.measured(folder, sizes.plain_records, sizes.records, min(sizes.rounds, 3)):
        yield compared(ran.case, ran.values, ran.baselines, ran.target, ran.detail)


def _beginning(lines: Path) -> Path:
    """A file with the first hundred lines: replaying it costs what starting the program does."""
    beginning = lines.with_name("beginning.tsv")
    with lines.open("rb") as file:
        beginning.write_bytes(b"".join(islice(file, 100)))
    return beginning


def _checked(ran: dict[str, Any], count: int) -> dict[str, Any]:
    if not ran["records"] == ran["aggregated"] == count:
        raise RuntimeError(f"{count} records went in, {ran['records']} came, {ran['aggregated']} were counted")
    return ran


def _clock(rans: Sequence[dict[str, Any]]) -> str:
    rate = statistics.median(ran["records"] / ran["seconds"] for ran in rans)
    return f"{rate:,.0f} records/s by the clock"


def _by_window(output: str) -> dict[str, dict[str, Any]]:
    """The half-hour entries of `replay`, in the shape of the rivals' results."""
    entries = (json.loads(line) for line in output.splitlines())
    return {
        entry["cache_key"].removeprefix("30min/"): {
            "requests": entry["total_requests"],
            "bytes": entry["total_bytes"],
            "statuses": entry["status_breakdown"],
            "top": [[path["path"], path["count"], path["bytes"]] for path in entry["top_paths"][: rivals.TOP]],
            "paths": entry["unique_paths"],
            "agents": entry["unique_agents"],
        }
        for entry in entries
        if entry["cache_key"].startswith("30min/")
    }


def _agree(name: str, ours: dict[str, dict[str, Any]], theirs: dict[str, dict[str, Any]]) -> None:
    """Raises RuntimeError on any difference; distinct counts may be estimates within 2%."""
    labels = {time.strftime("%Y-%m-%d-%H%M", time.gmtime(int(w) * rivals.WINDOW_S)): w for w in theirs}
    if sorted(labels) != sorted(ours):
        raise RuntimeError(f"{name} has the windows {sorted(labels)}, replay {sorted(ours)}")
    for label, window in labels.items():
        for key, value in theirs[window].items():
            found = ours[label][key]
            close = key in ("paths", "agents") and abs(found - value) <= 0.02 * value
            if found != value and not close:
                raise RuntimeError(f"{name} and replay differ in {key} of {label}: {value} and {found}")


# ---------------------------------------------------------------------- memory and state


def memory_at_start(bench: Bench) -> Iterator[Line]:
    ran, _ = measure.call(local_runner.idle, bench.folder_of("start"))
    detail = f"at most {ran['peak_bytes'] / MB:.0f} MB; 4 idle shards, cache service in it"
    yield at_most("memory-start", ran["bytes"] / MB, "MB", 250, detail)


def catch_up(bench: Bench) -> Iterator[Line]:
    records, shards_ = bench.sizes.records, bench.sizes.many_shards[0]
    ran, _ = measure.call(local_runner.catching_up, bench.folder_of("backlog"), records, shards_)
    detail = f"{records:,} records of three hours in {shards_} shards, in {ran['seconds']:.0f} s; cache service in it"
    yield at_most("memory-catch-up", ran["peak_bytes"] / MB, "MB", 524, detail)


def health(bench: Bench) -> Iterator[Line]:
    ran, _ = measure.call(local_runner.health, bench.sizes.health_shards, 200)
    detail = f"CPU of client and server for /health/ready, {bench.sizes.health_shards:,} shards; "
    yield at_most("health-1000-shards", ran["ms"], "ms", 5, f"{detail}{ran['clock_ms']:.1f} ms by the clock")
    ran, _ = measure.call(local_runner.health, bench.sizes.metrics_shards, 100, "/metrics")
    detail = f"CPU of client and server for a scrape, {bench.sizes.metrics_shards:,} shards; "
    yield at_most("metrics-500-shards", ran["ms"], "ms", 20, f"{detail}{ran['clock_ms']:.1f} ms by the clock")


def full_shards(bench: Bench) -> Iterator[Line]:
    """Memory, commits and recovery all need full shards, which take long to fill: they are measured on the same."""
    count = bench.sizes.full_shard_records
    one_folder, five_folder = (bench.folder / name for name in ("one", "five"))
    one, _ = measure.call(shards.full, 1, count, one_folder)
    five, _ = measure.call(shards.full, 5, count, five_folder)
    each, peak = ((five[key] - one[key]) / 4 / MB for key in ("resident_bytes", "peak_bytes"))
    detail = (
        f"{one['resident_bytes'] / MB:.0f} MB with one, {five['resident_bytes'] / MB:.0f} MB with five (before: "
        f"{one['before_bytes'] / MB:.0f} MB); {peak:.1f} MB each at the peak"
    )
    yield at_most("memory-full-shard", each, "MB", 20, detail)
    yield at_most("commit-cpu", one["commit_ms"], "ms", 20, "median of the last five minutes' commits, to file://")
    yield at_most("commit-bytes", one["commit_bytes"] / MB, "MB", 8, "partial, snapshot and progress")
    rans = [measure.call(shards.recovered, one_folder)[0] for _ in range(bench.sizes.rounds)]
    seconds = statistics.median(ran["seconds"] for ran in rans)
    megabytes = shards.RECOVERED * one["commit_bytes"] / MB
    yield at_most("recovery-8-shards", seconds, "s", 5, f"{rans[0]['requests']:,} records in {megabytes:.0f} MB")


def distinct_paths(bench: Bench) -> Iterator[Line]:
    ran, _ = measure.call(shards.hostile, bench.sizes.distinct_paths, bench.folder / "paths")
    more = (ran["resident_bytes"] - ran["before_bytes"]) / MB
    detail = (
        f"{(ran['peak_bytes'] - ran['before_bytes']) / MB:.0f} MB at the peak; {ran['ids']:,} request ids of ten "
        f"minutes are part of it; {ran['distinct']:,} distinct paths estimated"
    )
    yield at_most("memory-10M-paths", more, "MB", 100, detail)


# ---------------------------------------------------------------------- behind the real KCL


def kcl_idle(bench: Bench) -> Iterator[Line]:
    counts = bench.sizes.kcl_shards
    rans = {count: measure.call(kcl_daemon.idle, count, bench.sizes.kcl_settle_s)[0] for count in counts}
    jvm = ", ".join(f"{rans[count]['jvm_bytes'] / MB:.0f} MB with {count}" for count in counts)
    yield at_most("kcl-jvm-memory", max(ran["jvm_bytes"] for ran in rans.values()) / MB, "MB", 400, f"{jvm} shards")
    last = rans[counts[-1]]
    fewer, fewer_bytes = (counts[0], rans[counts[0]]["engine_bytes"]) if len(counts) > 1 else (0, 0)
    each = (last["engine_bytes"] - fewer_bytes) / (counts[-1] - fewer) / MB
    engines = ", ".join(f"{rans[count]['engine_bytes'] / MB:.0f} MB with {count}" for count in counts)
    yield at_most("kcl-engine-memory-a-shard", each, "MB", 1, f"the engine: {engines} idle shards")
    yield at_most("kcl-child-memory", last["child_bytes"] / MB, "MB", 10, "most of it shared")
    yield at_most("kcl-child-own-memory", last["child_own_bytes"] / MB, "MB", 3)
    yield at_most("kcl-stop", last["stop_s"], "s", 20, f"SIGTERM with {counts[-1]} idle shards, until all has ended")


def kcl_traffic(bench: Bench) -> Iterator[Line]:
    ran = measure.call(kcl_daemon.traffic, bench.sizes.kcl_records, bench.sizes.kcl_singles)[0]
    share = ran["engine_cpu_s"] / ran["jvm_cpu_s"]
    detail = (
        f"{ran['engine_cpu_s']:.2f} s and {ran['jvm_cpu_s']:.2f} s for {bench.sizes.kcl_records:,} records, 4 shards"
    )
    yield at_most("kcl-engine-to-jvm-cpu", share, "of the JVM's", 0.25, detail)
    singles = f"{bench.sizes.kcl_singles} records, one at a time, until /health counts them"
    yield at_most("kcl-put-to-seen-median", ran["median_s"], "s", 1.5, singles)
    yield at_most("kcl-put-to-seen-p99", ran["p99_s"], "s", 4, singles)


# ---------------------------------------------------------------------- growth

S3_WRITE_USD, S3_READ_USD, MONTH_H = 5e-6, 4e-7, 730  # list prices of a PUT or LIST, and of a GET


def growth_of_folds(bench: Bench) -> Iterator[Line]:
    records = 30_000
    one, few = (measure.call(growth.folds, count, 1, 100)[0]["ms"] for count in (1, 100))
    alone, _ = measure.call(growth.folds, records, 1, 3)
    spread, _ = measure.call(growth.folds, records, bench.sizes.many_windows, 2)
    law = f"parsed and taken in; 100 records: {few:.2f} ms, {records:,} of one window: {alone['ms']:.0f} ms"
    yield at_most("fold-of-one", one, "ms", 0.8, law)
    ratio = spread["ms"] / alone["ms"]
    law = f"{records:,} records over {spread['windows']:,} windows: {spread['ms']:.0f} ms, to those of one window"
    yield at_most("fold-many-windows", ratio, "times", 5, law)
    shards_, seconds = bench.sizes.slow_shards
    slow, _ = measure.call(growth.slow_shards, shards_, 10, seconds)
    detail = f"a core's share of an engine with {shards_:,} shards of a record a second, commits included"
    yield at_most("slow-shards", 100 * slow["cores"], "%", 30, detail)


def growth_of_publishing(bench: Bench) -> Iterator[Line]:
    for shards_, name, most_ms in zip(bench.sizes.many_shards, (16, 256), (4, 25), strict=True):
        steady, _ = measure.call(growth.steady_pass, shards_, 10)
        reads = steady["cache_reads_a_minute"]
        detail = f"{shards_} shards, two days of final windows; {reads:.1f} reads of the cache a minute"
        yield at_most(f"pass-{name}-shards", steady["ms"], "ms", most_ms, detail)
        if shards_ == bench.sizes.many_shards[-1]:
            yield at_most(
                "pass-cache-reads", steady["cache_reads_a_minute"], "a minute", 20, f"{shards_} shards, a worker"
            )
    most = bench.sizes.many_shards[-1]
    merged, _ = measure.call(growth.merge, most)
    detail = (
        f"{most} full shards of {merged['partial_bytes'] / MB:.1f} MB: {merged['cpu_s']:.2f} s of CPU, "
        f"{1000 * merged['cpu_s'] / most:.1f} ms a shard"
    )
    yield at_most("merge-memory", merged["bytes"] / MB, "MB", 157, detail)


def growth_of_closing(bench: Bench) -> Iterator[Line]:
    few, many = bench.sizes.many_shards
    modelled = "modelled stores: GET 20 ms, PUT and LIST 40 ms, a cache service of 9 requests a second"
    wide, _ = measure.call(closing.closing, many, 2, 9)
    detail = f"{many} shards, 2 workers; {modelled}; {wide['given_up']:.0f} merges given up"
    yield at_most("close-256-shards", wide["final_s"], "s after the end", 72, detail)
    crowded, _ = measure.call(closing.closing, 4 * few, bench.sizes.many_workers, 9)
    detail = f"{4 * few} shards, {bench.sizes.many_workers} workers; {modelled}"
    yield at_most("close-16-workers", crowded["final_s"], "s after the end", 80, detail)
    detail = f"of the open half hour in its last 25 minutes, {many} shards that commit at different times, 2 workers"
    yield at_least("open-refreshes", wide["refreshed"], "refreshes", 45, detail)


def growth_of_cost(bench: Bench) -> Iterator[Line]:
    shards_, workers = bench.sizes.many_shards[0], 2
    hour, _ = measure.call(growth.requests, shards_, workers, bench.sizes.hours)
    writes = sum(hour.get(verb, 0) for verb in ("put", "create", "list", "list_folders"))
    usd = MONTH_H * (writes * S3_WRITE_USD + hour["get"] * S3_READ_USD)
    detail = f"{shards_} shards, {workers} workers, an hour: " + ", ".join(
        f"{number:,.0f} {verb}" for verb, number in sorted(hour.items())
    )
    yield at_most("s3-month", usd, "$", 12, detail)


def growth_with_age(bench: Bench) -> Iterator[Line]:
    young, old = bench.sizes.days
    objects, _ = measure.call(growth.aging, 4, list(bench.sizes.days))
    detail = f"objects in the state store: {objects[str(young)]:,} on day {young}, {objects[str(old)]:,} on day {old}"
    yield at_most("state-objects", objects[str(old)] / objects[str(young)], "times", 1.2, detail)


# ---------------------------------------------------------------------- the API and the archive


def api(bench: Bench) -> Iterator[Line]:
    for measured in reading.measured(bench.sizes.rounds):
        yield at_most(*measured)


def readers(bench: Bench) -> Iterator[Line]:
    made = bench.data()
    ran, _ = measure.call(reading.beside_engine, made.folder, made.count, bench.sizes.readers_s)
    asked = f"{reading.CLIENTS} dashboards that ask for summary and timeseries every {reading.POLL_S} s"
    detail = f"{asked}: {ran['answers']} answers, median {ran['median_ms']:.0f} ms, by the clock"
    yield at_most("api-50-clients-p95", ran["p95_ms"], "ms", 100, detail)
    detail = "the engine beside them and without them, by the clock"
    yield compared("api-50-clients-engine", [ran["beside"]], [ran["alone"]], 0.95, detail)


def archives(bench: Bench) -> Iterator[Line]:
    sizes = bench.sizes
    for measured in archive.measured(sizes.archive_objects, sizes.small_files, sizes.rounds):
        yield at_most(*measured)


def backfills(bench: Bench) -> Iterator[Line]:
    sizes = bench.sizes
    folder = bench.folder_of("backfill")
    for ran in backfill.measured(folder, sizes.records, sizes.memory_of_files_bytes, min(sizes.rounds, 3)):
        if ran.baselines:
            yield compared(ran.case, ran.values, ran.baselines, ran.target, ran.detail)
        else:
            yield at_most(ran.case, ran.values[0], "MB", ran.target, ran.detail)


type Group = Callable[[Bench], Iterator[Line]]
GROUPS: dict[Group, tuple[str, ...]] = {
    engines: (
        *("engine-10k", "engine-10k-of-ceiling", "engine-10k-native"),
        *("engine-16-shards", "engine-16-shards-native", "engine-16-shards-p99"),
    ),
    many_children: ("engine-64-children",),
    replays: ("replay-1M", "replay-to-duckdb", "replay-to-loop", "replay-to-objects"),
    replays_on_two_cores: bounded.CASES,
    memory_at_start: ("memory-start",),
    catch_up: ("memory-catch-up",),
    health: ("health-1000-shards", "metrics-500-shards"),
    full_shards: ("memory-full-shard", "commit-cpu", "commit-bytes", "recovery-8-shards"),
    distinct_paths: ("memory-10M-paths",),
    growth_of_folds: ("fold-of-one", "fold-many-windows", "slow-shards"),
    growth_of_publishing: ("pass-16-shards", "pass-256-shards", "pass-cache-reads", "merge-memory"),
    growth_of_closing: ("close-256-shards", "close-16-workers", "open-refreshes"),
    growth_of_cost: ("s3-month",),
    growth_with_age: ("state-objects",),
    api: reading.CASES,
    readers: ("api-50-clients-p95", "api-50-clients-engine"),
    archives: archive.CASES,
    backfills: backfill.CASES,
    kcl_idle: (
        "kcl-jvm-memory",
        "kcl-engine-memory-a-shard",
        "kcl-child-memory",
        "kcl-child-own-memory",
        "kcl-stop",
    ),
    kcl_traffic: ("kcl-engine-to-jvm-cpu", "kcl-put-to-seen-median", "kcl-put-to-seen-p99"),
}


def run(only: str = "", sizes: Sizes = FULL) -> Iterator[Line]:
    """Lines as they are measured; `only` is a case or how some begin, or several of these with commas between."""
    chosen = tuple(only.split(","))
    with tempfile.TemporaryDirectory(prefix="sa-stream-bench-") as folder:
        bench = Bench(sizes, Path(folder))
        for group, names in GROUPS.items():
            if any(name.startswith(chosen) for name in names):
                yield from (line for line in group(bench) if line.case.startswith(chosen))
