"""Without a secret anybody can make two texts with one hash. It changes only how many distinct ones there are."""

import numpy as np
import pytest
import xxhash

from sa_stream.bounded.windows import Bounded_Windows
from sa_stream.records.fields import resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.records.parser import Parser
from sa_stream.windows import audience, known_paths
from sa_stream.windows.window import Window
from tests.log_lines import NOW_MS, line_of

LISTS = resolve_field_lists("canonical", "")
ROWS = 400  # of each text: many, for which what was said is remembered
PATHS = ("/u/john.doe@example.com/2886", "sw}TQqVi")
AGENTS = ("Googlebot/2.3822", "x2E|'ti3")


def folded(field: str, order: tuple[str, ...]) -> Window:
    known_paths._known_paths.cache_clear()
    audience._classes.cache_clear()
    windows, parser = Bounded_Windows(), Parser(LISTS)
    for place, text in enumerate(order):
        lines = [
            line_of({"timestamp": "1771252200.5", "x-edge-request-id": f"{place} {row}", field: text}) + b"\n"
            for row in range(ROWS)
        ]
        windows.take(parser.parse([b"".join(lines)], np.array([NOW_MS])), Intake(LISTS))
    (window,) = windows.windows.values()
    return window


@pytest.mark.usefixtures("both_ways")
def test_a_path_is_cleaned_whatever_has_its_hash() -> None:
    assert len({xxhash.xxh3_64_intdigest(path.encode(), 0) for path in PATHS}) == 1
    found = [folded("cs-uri-stem", order) for order in (PATHS, PATHS[::-1])]
    for window in found:
        assert {row.path for row in window.paths.top(5)} == {"/u/[email]/2886", PATHS[1]}
        assert window.path_groups.counts == {"/u/…": ROWS, PATHS[1]: ROWS}


@pytest.mark.usefixtures("both_ways")
def test_an_agent_is_what_it_says_whatever_has_its_hash() -> None:
    assert len({xxhash.xxh3_64_intdigest(agent.encode(), 0) for agent in AGENTS}) == 1
    for order in (AGENTS, AGENTS[::-1]):
        counts = folded("cs-user-agent", order).counts
        assert counts["agent_classes"] == {"bot_known": ROWS, "bot_generic": ROWS}
