"""What goes into a schema comes out of it, JSON and back, whatever the values."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.rollups.entry import About, build_entry, consolidation_result
from sa_stream.schemas.Schema__SA__Aggregate__Window import Schema__SA__Aggregate__Window
from sa_stream.schemas.Schema__SA__Consolidation__Result import Schema__SA__Consolidation__Result
from sa_stream.schemas.Schema__SA__Ingestion__Result import Schema__SA__Ingestion__Result
from sa_stream.schemas.Schema__SA__Log__Event import Schema__SA__Log__Event
from sa_stream.windows.window import Window

SCHEMAS = [
    Schema__SA__Aggregate__Window,
    Schema__SA__Consolidation__Result,
    Schema__SA__Ingestion__Result,
    Schema__SA__Log__Event,
]
SEED_AGGREGATE = (
    "period, time_key, status, computed_at, source_count, sources_final, total_requests, unique_paths, "
    "status_breakdown, top_paths, edge_distribution, cache_hit_rate, total_bytes, avg_time_taken, avg_ttfb"
)
SEED_CONSOLIDATION = (
    "period_start, period_end, total_requests, unique_paths, unique_agents, unique_edges, status_breakdown, "
    "top_paths, edge_distribution, cache_hit_rate, total_bytes"
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
counts = st.integers(0, 2**63)
numbers = st.floats(0, 1e12, allow_nan=False)
json_values = st.recursive(
    st.none() | st.booleans() | counts | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
OF_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "str": text,
    "bool": st.booleans(),
    "float": numbers,
    "Safe_UInt": counts,
    "dict": st.dictionaries(text, json_values, max_size=4),
    "list": st.lists(json_values, max_size=4),
}


def values_of(schema: type) -> st.SearchStrategy[dict[str, Any]]:
    fields = {}
    for name, annotation in schema.__annotations__.items():
        values = OF_TYPE[annotation.__name__]
        nullable = name in schema.__dict__ and schema.__dict__[name] is None
        fields[name] = values | st.none() if nullable else values
    return st.fixed_dictionaries(fields)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_what_goes_in_comes_out(schema: Any) -> None:
    @settings(max_examples=40, deadline=None)
    @given(values_of(schema))
    def round_trip(values: dict[str, Any]) -> None:
        stored = json.dumps(schema(**values).json())
        assert json.loads(stored) == values
        assert schema.from_json(json.loads(stored)).json() == values

    round_trip()


@pytest.mark.parametrize("schema", SCHEMAS)
def test_an_empty_one_is_json_too(schema: Any) -> None:
    assert schema.from_json(json.loads(json.dumps(schema().json()))).json() == schema().json()


def test_bucket_names_paths_and_times_are_not_rewritten() -> None:
    values = {"log_file_key": "cloudfront-realtime/2026/02/16/my.logs.example-1.gz", "cache_prefix": "a/b.c"}
    result = Schema__SA__Ingestion__Result(**values).json()
    assert {name: result[name] for name in values} == values


def test_the_seeds_fields_keep_their_names_and_order() -> None:
    assert ", ".join(Schema__SA__Aggregate__Window.__annotations__).startswith(SEED_AGGREGATE)
    assert ", ".join(Schema__SA__Consolidation__Result.__annotations__).startswith(SEED_CONSOLIDATION)
    assert len(Schema__SA__Log__Event.__annotations__) == 27


@pytest.mark.parametrize("period", ["30min", "daily"])
def test_the_schema_holds_every_key_of_an_entry(period: str) -> None:
    """An empty window of no known fields: all that can be null is."""
    entry = build_entry(period, 0, Window(0), About(False, 1, [], [], None, computed_at_ms=0))
    assert Schema__SA__Aggregate__Window(**entry).json() == entry
    assert set(entry) == set(Schema__SA__Aggregate__Window.__annotations__)
    consolidated = consolidation_result(entry, 0)
    assert Schema__SA__Consolidation__Result(**consolidated).json() == consolidated
