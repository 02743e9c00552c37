"""What a user would write instead of `sa-stream replay`, over the same file: each prints or returns, per half hour,
requests, bytes, status classes, the 20 most requested paths, and how many distinct paths and agents.
"""

import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

from sa_stream.records.fields import CANONICAL

WINDOW_S = 1_800
TOP = 20
PLACE = {name: place for place, name in enumerate(CANONICAL)}

type Result = dict[int, dict[str, Any]]


def bare_polars(lines: Path) -> int:
    """The least that polars must do: parse, dedupe, group."""
    import polars as pl

    names = ["timestamp", "sc-status", "sc-bytes", "cs-uri-stem", "x-edge-request-id", "cs-user-agent"]
    frame = pl.read_csv(
        lines,
        separator="\t",
        has_header=False,
        quote_char=None,
        schema=dict.fromkeys(CANONICAL, pl.String),
        columns=[PLACE[name] for name in names],
    )
    frame = frame.with_columns(
        window=pl.col("timestamp").cast(pl.Float64).cast(pl.Int64) // WINDOW_S, bytes=pl.col("sc-bytes").cast(pl.Int64)
    )
    frame = frame.unique(["window", "x-edge-request-id"], keep="any")
    totals = frame.group_by("window", pl.col("sc-status").str.head(1)).agg(
        pl.len(), pl.col("bytes").sum(), pl.col("cs-user-agent").n_unique()
    )
    paths = frame.group_by("window", "cs-uri-stem").agg(pl.len(), pl.col("bytes").sum())
    assert totals["len"].sum() == paths["len"].sum()
    return int(totals["len"].sum())


def duck(lines: Path, threads: int = 1) -> Result:
    """DuckDB. The file (or several, by a pattern) is parsed once, into a table that holds what the queries need."""
    import duckdb

    base = duckdb.connect(config={"threads": threads})
    columns = ", ".join(f"'{name}': 'VARCHAR'" for name in CANONICAL)
    base.execute(
        f"""
        create temp table seen as
        select floor(timestamp::double / {WINDOW_S})::bigint as w, "x-edge-request-id" as id,
               "sc-bytes"::bigint as bytes,
               "sc-status"[1] as class, "cs-user-agent" as agent,
               case "cs-uri-stem" when '-' then '' else split_part("cs-uri-stem", '?', 1) end as path
        from read_csv(?, delim='\t', header=false, quote='', escape='', all_varchar=true, auto_detect=false,
                      columns={{{columns}}})
        """,
        [str(lines)],
    )
    base.execute(
        "create temp table kept as select * from seen where id = '-' union all "
        "select distinct on (w, id) * from seen where id <> '-'"
    )
    result: Result = {
        window: {"requests": requests, "bytes": int(size), "agents": agents, "statuses": {}, "top": []}
        for window, requests, size, agents in base.execute(
            "select w, count(*), sum(bytes), count(distinct agent) filter (agent <> '-') from kept group by w"
        ).fetchall()
    }
    for window, digit, number in base.execute("select w, class, count(*) from kept group by all").fetchall():
        result[window]["statuses"][f"{digit}xx"] = number
    base.execute("create temp table paths as select w, path, count(*) as n, sum(bytes) as b from kept group by all")
    for window, number in base.execute("select w, count(*) from paths group by w").fetchall():
        result[window]["paths"] = number
    top = f"select w, path, n, b from paths qualify row_number() over (partition by w order by n desc, path) <= {TOP}"
    for window, path, number, size in base.execute(top + " order by w, n desc, path").fetchall():
        result[window]["top"].append([path, number, int(size)])
    return result


def loop(lines: Path) -> Result:
    """A plain loop with split, sets and counters."""
    result: Result = {}
    seen: dict[int, set[str]] = {}
    requests: Counter[int] = Counter()
    total_bytes: Counter[int] = Counter()
    statuses: dict[int, Counter[str]] = {}
    paths: dict[int, Counter[str]] = {}
    path_bytes: dict[int, Counter[str]] = {}
    agents: dict[int, set[str]] = {}
    at_time, at_status, at_bytes = PLACE["timestamp"], PLACE["sc-status"], PLACE["sc-bytes"]
    at_path, at_id, at_agent = PLACE["cs-uri-stem"], PLACE["x-edge-request-id"], PLACE["cs-user-agent"]
    with lines.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            values = line.rstrip("\n").split("\t")
            window = int(float(values[at_time])) // WINDOW_S
            if window not in seen:
                seen[window], agents[window] = set(), set()
                statuses[window], paths[window], path_bytes[window] = Counter(), Counter(), Counter()
            request_id = values[at_id]
            if request_id != "-":
                if request_id in seen[window]:
                    continue
                seen[window].add(request_id)
            size = int(values[at_bytes])
            path = "" if values[at_path] == "-" else values[at_path].partition("?")[0]
            requests[window] += 1
            total_bytes[window] += size
            statuses[window][values[at_status][0] + "xx"] += 1
            paths[window][path] += 1
            path_bytes[window][path] += size
            if values[at_agent] != "-":
                agents[window].add(values[at_agent])
    for window in requests:
        ranked = sorted(paths[window].items(), key=lambda item: (-item[1], item[0]))[:TOP]
        result[window] = {
            "requests": requests[window],
            "bytes": total_bytes[window],
            "agents": len(agents[window]),
            "statuses": dict(statuses[window]),
            "paths": len(paths[window]),
            "top": [[path, number, path_bytes[window][path]] for path, number in ranked],
        }
    return result


def objects(lines: Path, sample: int) -> dict[str, float]:
    """One of the seed's objects for each of the first lines, and nothing done with them."""
    from sa_stream.schemas.Schema__SA__Log__Event import Schema__SA__Log__Event

    odd = {"x-edge-response-result-type": "x_edge_response_type"}
    names = [odd.get(name, name.replace("-", "_")) for name in CANONICAL]
    with lines.open(encoding="utf-8", newline="\n") as file:
        texts = list(islice(file, sample))
    cpu_s = time.process_time()
    for text in texts:
        Schema__SA__Log__Event(**dict(zip(names, text.rstrip("\n").split("\t"), strict=True)))
    return {"records": len(texts), "cpu_s": time.process_time() - cpu_s}
