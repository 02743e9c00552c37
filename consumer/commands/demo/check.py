"""Whether the demo's entries are what a naive recount of its records finds: both come in, differences go out."""

from collections.abc import Mapping
from typing import Any

from consumer.commands.demo.recount import comparable
from consumer.commands.demo.story import Story
from sa_stream.rollups.periods import cache_key, from_iso
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.storage.Send__Cache__Client import Send__Cache__Client


def compare(story: Story, counted: Mapping[str, dict[str, Any]], cache: Send__Cache__Client) -> tuple[int, list[str]]:
    """How many final entries were compared, and every difference in a line.

    counted  start of a window (s) -> the recount's numbers
    """
    compared = 0
    differences: list[str] = []
    for start_s, expected in counted.items():
        key = cache_key("30min", int(start_s) * 1000)
        entry = cache.retrieve_entry(NS_SA_AGGREGATE, key)
        if key not in story.final or entry is None or from_iso(entry["window_end"]) > story.until_ms:
            continue
        compared += 1
        expected = {name: _rows(value) for name, value in expected.items()}
        differences += [f"{key} {line}" for line in _differences(comparable(entry), expected)]
    return compared, differences


def _rows(value: Any) -> Any:
    """As they were before they came through JSON."""
    return [tuple(row) for row in value] if isinstance(value, list) else value


def _differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """What an entry says and a recount does not, each in a line."""
    lines = []
    for name, value in expected.items():
        if isinstance(value, dict):
            for part in sorted(value.keys() | found[name].keys()):
                if value.get(part, 0) != found[name].get(part, 0):
                    lines.append(f"{name} {part}: entry {found[name].get(part, 0)}, recount {value.get(part, 0)}")
        elif found[name] != value:
            lines.append(f"{name}: entry {found[name]}, recount {value}")
    return lines
