"""The report as Markdown. Every name in it comes from strangers: it stands in a code span, where nothing is markup.
Pure."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
NOT_KNOWN = "–"
_SHOWN_CHARACTERS_MAX = 120

type Report = Mapping[str, Any]


def markdown_of(report: Report) -> str:
    """Of what Service__SA__Report found."""
    parts = [f"# Traffic: {report['title']}", _opening(report), *_traffic(report), *_people(report), *_paths(report)]
    parts += [*_referrers(report), *_gaps(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def code(text: object) -> str:
    """A name as a code span that can stand in a table."""
    plain = _UNPRINTABLE.sub("\ufffd", str(text))
    if len(plain) > _SHOWN_CHARACTERS_MAX:
        plain = f"{plain[:_SHOWN_CHARACTERS_MAX]}…"
    ticks = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    space = " " if plain.startswith("`") or plain.endswith("`") or not plain.strip() else ""
    return f"{ticks}{space}{plain}{space}{ticks}".replace("|", "\\|")


def _opening(report: Report) -> str:
    said = f"From {report['from']} to {report['to']}, UTC. Compared with {report['compared_with']}."
    if report["status"] != "final":
        said += " **Not final yet**: more may come, and only what is final is compared."
    rate = report.get("sampling_rate")
    if rate is not None and rate < 100:
        said += f" Only {rate:g}% of all requests are in the log."
    return said


def _traffic(report: Report) -> list[str]:
    totals, rates = report["totals"], report["rates"]
    now, before = report["elapsed"] or {}, report["previous"] or {}
    times = report["percentiles"].get("time_taken") or {}
    rows = [
        ("requests", _number(totals["requests"]), _change(now, before, "requests")),
        ("page views by people", _number(totals["page_views"]), _change(now, before, "page_views")),
        ("people", _number(totals["human"]), _change(now, before, "human")),
        ("bots", _number(totals["bots"]), _change(now, before, "bots")),
        ("bytes", _bytes(totals["bytes"]), _change(now, before, "bytes")),
        ("answered from the cache", _percent(rates["cache_hit_rate"]), _points(now, before, _hit_rate)),
        ("4xx", _percent(rates["status_4xx"]), _points(now, before, _rate_of("status_4xx"))),
        ("5xx", _percent(rates["status_5xx"]), _points(now, before, _rate_of("status_5xx"))),
        ("slowest twentieth (p95)", _seconds(times.get("p95")), _change(now, before, "p95")),
    ]
    return ["## Traffic", _table(("", "", "against before"), rows)]


def _people(report: Report) -> list[str]:
    classes, bots = report["agent_classes"], report["bots"]
    if classes is None:
        return ["## People and bots", "These entries do not say who asked."]
    total = report["totals"]["requests"]
    words = {"human": "people", "bot_known": "known bots", "bot_generic": "other bots", "unknown": "unknown"}
    said = ", ".join(f"{words.get(name, name)} {_share(count, total)}" for name, count in classes.items())
    rows = [(code(row["name"]), _number(row["count"]), "AI" if row.get("ai") else "") for row in bots or ()]
    return ["## People and bots", f"Of all requests: {said}.", _table(("bot", "requests", ""), rows)]


def _paths(report: Report) -> list[str]:
    errors = report["errors"] or {}
    found = ["## Errors, slow and missed paths"]
    lists: tuple[tuple[str, Sequence[Mapping[str, Any]] | None, str, Any], ...] = (
        ("Answered with 5xx", errors.get("status_5xx"), "status_5xx", _number),
        ("Answered with 4xx", errors.get("status_4xx"), "status_4xx", _number),
        ("Slow", report["slow_paths"], "avg_time_taken", _seconds),
        ("Not in the cache", report["missed_paths"], "misses", _number),
    )
    for title, rows, name, form in lists:
        if rows is None:
            found.append(f"{title}: these entries do not say.")
        elif rows:
            lines = [(code(row["path"]), form(row[name]), _number(row["count"])) for row in rows]
            found.append(_table((title, name, "requests"), lines))
        else:
            found.append(f"{title}: none.")
    return found


def _referrers(report: Report) -> list[str]:
    referrers = report["referrers"]
    if referrers is None:
        return ["## Referrers", "These entries do not say where visitors came from."]
    total = report["totals"]["requests"]
    rows = [(code(name), _number(count), _share(count, total)) for name, count in referrers.items()]
    return ["## Referrers", _table(("site", "requests", "of all"), rows)]


def _gaps(report: Report) -> list[str]:
    gaps = report["gaps"]
    if not gaps:
        return ["## Gaps", "None: nothing is missing."]
    return ["## Gaps", _table(("from", "to", "why"), [(gap["from"], gap["to"], code(gap["reason"])) for gap in gaps])]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}", *lines])


def _change(now: Mapping[str, Any], before: Mapping[str, Any], name: str) -> str:
    mine, theirs = now.get(name), before.get(name)
    if mine is None or theirs is None:
        return NOT_KNOWN
    if not theirs:
        return "0%" if not mine else "new"
    return f"{100 * (mine - theirs) / theirs:+.1f}%"


def _points(
    now: Mapping[str, Any], before: Mapping[str, Any], rate: Callable[[Mapping[str, Any]], float | None]
) -> str:
    """How a rate changed: what became of its count says nothing where requests changed as well."""
    mine, theirs = rate(now), rate(before)
    return NOT_KNOWN if mine is None or theirs is None else f"{mine - theirs:+.2f} points"


def _hit_rate(values: Mapping[str, Any]) -> float | None:
    return values.get("hit_rate") if values.get("requests") else None


def _rate_of(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    def rate(values: Mapping[str, Any]) -> float | None:
        number, requests = values.get(name), values.get("requests")
        return None if number is None or not requests else 100 * number / requests

    return rate


def _number(value: float | None) -> str:
    return NOT_KNOWN if value is None else f"{value:,}"


def _percent(value: float | None) -> str:
    return NOT_KNOWN if value is None else f"{value:.2f}%"


def _seconds(value: float | None) -> str:
    return NOT_KNOWN if value is None else f"{value:.3f} s"


def _share(count: int | None, total: int | None) -> str:
    return NOT_KNOWN if count is None or not total else f"{100 * count / total:.1f}%"


def _bytes(value: float | None) -> str:
    if value is None:
        return NOT_KNOWN
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1000
    raise AssertionError
