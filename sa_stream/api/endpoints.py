"""Every address of the API, with what it takes and an example of what it answers: the routes, the OpenAPI document and
docs/api.md are made of this list."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from sa_stream.rollups.periods import PERIODS
from sa_stream.services.traffic_metrics import METRICS
from sa_stream.services.traffic_tables import DIMENSIONS, SORTS
from sa_stream.services.traffic_times import AUTO, SERIES_PERIODS

PREFIX = "api/sa"


class Parameter(Struct, frozen=True):
    """choices: all that it may be, if these are few. default: what is meant without it, in words."""

    name: str
    meaning: str
    default: str = ""
    choices: tuple[str, ...] = ()
    where: str = "query"
    example: str = ""


class Endpoint(Struct, frozen=True):
    """name: of the method of Routes__SA that answers. example: of an answer, shortened. try_it: a query that gives one
    like it. long: a step, which takes the time that it takes. job: what the daemon answers instead of the example."""

    method: str
    path: str
    name: str
    meaning: str
    parameters: tuple[Parameter, ...] = ()
    example: Mapping[str, Any] | str = field(default_factory=dict)
    try_it: str = ""
    long: bool = False
    job: Mapping[str, Any] = field(default_factory=dict)


_PERIOD = Parameter("period", "of which entry", "daily", PERIODS)
_AT = Parameter(
    "at", "a time in the period, or its key; `latest`: the newest that has an entry", "latest", example="2026-02-16"
)
_FROM = Parameter("from", "ISO time or key of a period, included", "24 hours before `to`", example="2026-02-09")
_TO = Parameter("to", "ISO time or key of a period, not included", "now", example="2026-02-16")
_ABOUT = {
    "schema_version": 2,
    "status": "final",
    "final_until": "2026-02-17T09:30:00Z",
    "computed_at": "2026-02-17T00:01:07Z",
    "revision": 0,
    "provenance": "stream",
    "missing_sources": [],
    "missing_fields": [],
    "sampling_rate": 100,
    "cache_key": "daily/2026-02-16",
    "period": "daily",
    "time_key": "2026-02-16",
    "window_start": "2026-02-16T00:00:00Z",
    "window_end": "2026-02-17T00:00:00Z",
}
_SERIES = {name: value for name, value in _ABOUT.items() if name not in ("revision", "missing_sources", "cache_key")}
_SERIES = {name: value for name, value in _SERIES.items() if name not in ("time_key", "window_start", "window_end")}
_JOB = {
    "id": "1771255800000-1",
    "step": "consolidate",
    "state": "waiting",
    "asked": "2026-02-16T15:30:00Z",
    "progress": {"done": 0, "total": 2},
    "result": None,
    "error": None,
}
_SIDE = {"window_start": "2026-02-16T00:00:00Z", "window_end": "2026-02-17T00:00:00Z", "slots": 48}

TRAFFIC = (
    Endpoint(
        *("GET", "/traffic/summary", "traffic__summary"),
        "One period at a glance. `elapsed` are the numbers of its settled slots, `previous` those of the same slots of "
        "the period before: null unless all of them are final. Rates are percent, times seconds.",
        (_PERIOD, _AT),
        {
            **_ABOUT,
            "totals": {"requests": 10_500, "human": 7_212, "bots": 3_101, "page_views": 1_930, "bytes": 310_112_000},
            "rates": {"cache_hit_rate": 61.2, "served_from_cache_rate": 70.6, "status_4xx": 2.1, "status_5xx": 0.04},
            "percentiles": {"time_taken": {"p50": 0.021, "p95": 0.31, "p99": 1.2, "count": 10_498, "max": 4.9}},
            "elapsed": {**_SIDE, "requests": 10_500, "hit_rate": 61.2},
            "previous": {**_SIDE, "requests": 9_870, "hit_rate": 60.1},
        },
        "?period=daily&at=2026-02-16",
    ),
    Endpoint(
        *("GET", "/traffic/timeseries", "traffic__timeseries"),
        "Slots in a row, at most 750. Each is `final`, `partial` (more may come), `zero` (final, without a request) or "
        "`missing`, whose values are null; `gaps` says why. Of `hourly` all but counts, and of the others what is "
        "not usual, costs a read for each slot.",
        (
            _FROM,
            _TO,
            Parameter("period", "length of a slot; `auto` takes what suits the stretch", AUTO, (AUTO, *SERIES_PERIODS)),
            Parameter(
                "metrics",
                f"names with commas between, of {', '.join(METRICS)}",
                "the usual ones",
                example="requests,p95",
            ),
            Parameter(
                "tz",
                "IANA name: days of this zone instead of UTC, of what can be added up; what that leaves out is in "
                "`left_out`. Its offset must be of whole half hours",
                "UTC",
                example="Europe/London",
            ),
        ),
        {
            **_SERIES,
            "period": "30min",
            "tz": "UTC",
            "from": "2026-02-16T00:00:00Z",
            "to": "2026-02-16T02:00:00Z",
            "columns": ["start", "requests", "hits", "hit_rate"],
            "rows": [
                ["2026-02-16T00:00:00Z", 212, 130, 61.32],
                ["2026-02-16T00:30:00Z", 0, 0, 0.0],
                ["2026-02-16T01:00:00Z", None, None, None],
                ["2026-02-16T01:30:00Z", 198, 121, 61.11],
            ],
            "slots": ["final", "zero", "missing", "final"],
            "gaps": [{"from": "2026-02-16T01:00:00Z", "to": "2026-02-16T01:30:00Z", "reason": "not-covered"}],
            "left_out": [],
        },
        "?from=2026-02-16&to=2026-02-17&metrics=requests,hits,hit_rate",
    ),
    Endpoint(
        *("GET", "/traffic/top-paths", "traffic__top_paths"),
        "Paths with the most of something, as far as the entry lists them: 100 by requests (a half hour 50), 20 of "
        "each other kind. `total` is how many different ones there were, `error_bound` how much a number may lack.",
        (
            _PERIOD,
            _AT,
            Parameter("limit", "rows, at most 100", "20", example="20"),
            Parameter("prefix", "only paths that begin so, escaped as in a log or not", "all", example="/blog/"),
            Parameter("sort", "by what", "count", SORTS),
        ),
        {
            **_ABOUT,
            "rows": [
                {
                    "path": "/blog/one",
                    "count": 811,
                    "bytes": 9_120_000,
                    "hits": 790,
                    "misses": 21,
                    "status_4xx": 0,
                    "status_5xx": 0,
                    "avg_time_taken": 0.018,
                }
            ],
            "shown": 1,
            "total": 4_717,
            "error_bound": 0,
            "sort": "count",
            "prefix": "/blog/",
        },
        "?limit=1&prefix=/blog/",
    ),
    Endpoint(
        *("GET", "/traffic/edge-locations", "traffic__edge_locations"),
        "Where requests were answered: by edge location, and by the city that its code stands for.",
        (_PERIOD, _AT),
        {
            **_ABOUT,
            "rows": [{"edge": "LHR5-P7", "city": "London", "country": "GB", "count": 3_120, "share": 29.71}],
            "cities": [{"city": "London", "country": "GB", "count": 5_312, "share": 50.59}],
            "shown": 1,
            "total": 37,
        },
    ),
    Endpoint(
        *("GET", "/traffic/status-codes", "traffic__status_codes"),
        "Requests by class and by code. `0xx` are viewers who left before the response.",
        (_PERIOD, _AT),
        {
            **_ABOUT,
            "classes": [{"class": "2xx", "count": 9_871, "share": 94.01}],
            "codes": [{"code": "200", "count": 9_204, "share": 87.66}],
        },
    ),
    Endpoint(
        *("GET", "/traffic/breakdown/{dimension}", "traffic__breakdown"),
        "Requests by one dimension, the most frequent first. Browsers, systems and devices are of people alone.",
        (
            Parameter("dimension", "which one", "", tuple(DIMENSIONS), "path", "bots"),
            _PERIOD,
            _AT,
            Parameter("limit", "rows, at most 1,000", "100", example="10"),
        ),
        {
            **_ABOUT,
            "dimension": "bots",
            "rows": [{"name": "GPTBot", "count": 812, "bytes": 10_112_000, "ai": True, "share": 7.73}],
            "shown": 1,
            "total": 31,
            "share_of": "requests",
            "error_bound": 0,
        },
        "?limit=1",
    ),
    *(
        Endpoint(
            *("GET", f"/traffic/{name}", "traffic__live"),
            "The last minutes, from the half hours that are open. `as_of` is until when they are known, `delay_s` how "
            "long ago that is, `lag_s` and `watermark` are those of the slowest shard."
            + (" The same as `traffic/live`." if name != "live" else ""),
            (Parameter("minutes", "how many, at most 120", "60", example="15"),),
            {
                **_SERIES,
                "status": "partial",
                "period": "minute",
                "columns": ["start", "requests", "status_4xx", "status_5xx", "bytes", "hits", "hit_rate"],
                "rows": [["2026-02-17T12:03:00Z", 12, 0, 0, 182_112, 9, 75.0]],
                "slots": ["partial"],
                "gaps": [],
                "as_of": "2026-02-17T12:03:41Z",
                "delay_s": 38,
                "lag_s": 61,
                "watermark": "2026-02-17T12:02:41Z",
            },
            "?minutes=1",
        )
        for name in ("live", "realtime")
    ),
    Endpoint(
        *("GET", "/traffic/report", "traffic__report"),
        "The morning report: traffic against the same day of the week before, people and bots, errors, slow and missed "
        "paths, referrers, gaps.",
        (
            Parameter("day", "one day, UTC", "yesterday", example="2026-02-16"),
            Parameter("week", "an ISO week", example="2026-W08"),
            Parameter("month", "a month", example="2026-02"),
            Parameter("format", "JSON, or Markdown to read", "json", ("json", "md")),
        ),
        {
            **_SERIES,
            "title": "Monday, 2026-02-16",
            "period": "day",
            "from": "2026-02-16T00:00:00Z",
            "to": "2026-02-17T00:00:00Z",
            "compared_with": "Monday, 2026-02-09",
            "totals": {"requests": 10_500, "human": 7_212, "bots": 3_101, "page_views": 1_930},
            "previous": {**_SIDE, "requests": 9_870},
            "errors": {"status_4xx": [{"path": "/wp-login.php", "status_4xx": 96, "count": 96}], "status_5xx": []},
            "slow_paths": [],
            "missed_paths": [],
            "bots": [{"name": "GPTBot", "count": 812, "bytes": 10_112_000, "ai": True}],
            "referrers": {"(direct)": 5_120},
            "gaps": [],
        },
        "?day=2026-02-16",
    ),
)
_STEP_PARAMETERS = (_FROM, _TO)


def _done(step: str, *results: Mapping[str, Any]) -> dict[str, Any]:
    return {"step": step, "done": len(results), "total": len(results), "remaining": None, "result": [*results]}


def _queued(step: str, units: int) -> dict[str, Any]:
    return {**_JOB, "step": step, "progress": {"done": 0, "total": units}}


PIPELINE = (
    Endpoint(
        *("GET", "/cloudfront/status", "cloudfront__status"),
        "What to believe: `status/stream`, what each step did last, log files that nobody has read yet "
        "(null where `status/stream` is published: there no step reads them), jobs, and (in the daemon) what is never "
        "read, dropped, reduced and kept.",
        (),
        {
            "stream": {"final_until": "2026-02-17T09:30:00Z", "lag_s": 61, "gaps": []},
            "last_runs": {"ingest": None, "consolidate": None, "aggregate": None, "archive": None},
            "unprocessed_files": None,
            "jobs": [],
            "privacy": {"never_read": ["asn", "c-ip"], "dropped_fields": [], "secret_months": ["2026-02"]},
        },
    ),
    *(
        Endpoint(
            *("POST", f"/cloudfront/{step}", f"cloudfront__{step}"),
            f"{meaning} In the daemon it is a job (202); a host works for some seconds and answers what remains, which "
            "is asked for next.",
            _STEP_PARAMETERS,
            _done(step, *results),
            "?from=2026-02-16T14:00:00Z&to=2026-02-16T15:00:00Z",
            long=True,
            job=_queued(step, len(results)),
        )
        for step, meaning, results in (
            (
                "ingest",
                "Read the log files of these hours, and keep what came of each.",
                [{"time_key": "2026-02-16-14", "records_parsed": 431, "errors": 0}],
            ),
            (
                "consolidate",
                "Compute these half hours from their log files.",
                [
                    {"time_key": "2026-02-16-1400", "total_requests": 212},
                    {"time_key": "2026-02-16-1430", "total_requests": 219},
                ],
            ),
            (
                "aggregate",
                "Compute these days, with all that they are made of.",
                [{"time_key": "2026-02-16", "status": "partial", "total_requests": 6_120}],
            ),
        )
    ),
    Endpoint(
        *("POST", "/cloudfront/archive", "cloudfront__archive"),
        "Which log files of one day may go where they cost less. Nothing is moved from here.",
        (
            Parameter("older_than", "days", "30", example="30"),
            Parameter("dry_run", "`false` is refused: the command line moves files", "true", ("true", "false")),
        ),
        {
            "step": "archive",
            "done": 1,
            "total": 1,
            "remaining": None,
            "result": {"dry_run": True, "move": [], "left": [], "move_total": 0, "left_total": 0},
        },
        "?older_than=30",
        long=True,
        job=_queued("archive", 1),
    ),
    Endpoint(
        *("GET", "/cloudfront/jobs/{id}", "cloudfront__jobs"),
        "How far a job is: `waiting`, `running`, `done` or `failed`.",
        (Parameter("id", "as the POST answered", "", (), "path", "1771255800000-1"),),
        _JOB,
    ),
)
_LIMIT = Parameter("limit", "rows, at most 200", "50", example="2")
_AFTER = Parameter("after", "the last key that was seen: what is older follows", "", example="daily/2026-02-16")
_BROWSED = {
    "path": "daily",
    "rows": [
        {
            "key": "daily/2026-02-16",
            "status": "final",
            "revision": 0,
            "provenance": "stream",
            "computed_at": "2026-02-17T00:01:07Z",
            "total_requests": 10_500,
        }
    ],
    "shown": 1,
    "total": 31,
    "more": True,
}
CACHE = (
    Endpoint(
        *("GET", "/cache/browse", "cache__browse"),
        "The periods, with how many entries each has.",
        (_LIMIT,),
        {"path": "", "rows": [{"path": "daily", "entries": 31}], "shown": 4, "total": 4},
    ),
    Endpoint(
        *("GET", "/cache/browse/{path:path}", "cache__browse"),
        "The keys of a period, newest first, with the status of each.",
        (Parameter("path", "a period", "", (), "path", "daily"), _LIMIT, _AFTER),
        _BROWSED,
        "?limit=1",
    ),
    Endpoint(
        *("GET", "/cache/entry/{key:path}", "cache__entry"),
        "One entry as it is: every field is explained in docs/entries.md.",
        (Parameter("key", "its key, or its id in the cache service", "", (), "path", "daily/2026-02-16"),),
        {"cache_key": "daily/2026-02-16", "status": "final", "total_requests": 10_500},
    ),
    Endpoint(
        *("GET", "/cache/stats", "cache__stats"),
        "How many entries there are of each period, the oldest and the newest.",
        (),
        {
            "rows": [{"period": "daily", "entries": 31, "oldest": "daily/2026-01-17", "newest": "daily/2026-02-16"}],
            "entries": 1_503,
        },
    ),
)
ENDPOINTS = (*TRAFFIC, *PIPELINE, *CACHE)


def openapi_of(endpoint: Endpoint) -> dict[str, Any]:
    """What the OpenAPI document says of it beside its path."""
    media = "text/plain" if isinstance(endpoint.example, str) else "application/json"
    parameters = [_openapi_parameter(parameter) for parameter in endpoint.parameters]
    if endpoint.method == "POST":
        confirm = {"type": "string", "example": "yes"}
        meaning = "with any value: no page of another site can send it"
        parameters.append(
            {"name": "X-SA-Confirm", "in": "header", "required": True, "description": meaning, "schema": confirm}
        )
    answers: dict[str, Any] = {"200": {"description": "as said", "content": {media: {"example": endpoint.example}}}}
    if endpoint.method == "POST":
        answers["202"] = {"description": "a job", "content": {media: {"example": endpoint.job}}}
    refused = {"detail": "limit is no whole number from 1 to 100", "code": "bad_parameter", "parameter": "limit"}
    for code, meaning in REFUSALS.items():
        answers[str(code)] = {"description": meaning, "content": {"application/json": {"example": refused}}}
    return {"parameters": parameters, "responses": answers}


REFUSALS = {
    400: "a parameter is unknown, malformed or impossible, or X-SA-Confirm is missing",
    401: "no key, or another one",
    404: "it is not there",
    405: "another method is expected: `Allow` names it",
    409: "it cannot be done as things are, or is being done already",
    413: "the body is larger than 64 KB",
    500: "a mistake of the program: its log says more",
    503: "a store does not answer, what it has under the key of an entry is none, or too much is asked at once: come "
    "back after `Retry-After` seconds",
}


def _openapi_parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    if parameter.example:
        schema["example"] = parameter.example
    default = f" (default: {parameter.default})" if parameter.default else ""
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        "description": f"{parameter.meaning}{default}",
        "schema": schema,
    }
