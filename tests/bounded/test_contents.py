"""What two records of one id say is told apart, whatever it is that they do not agree on."""

import numpy as np
import pytest

from sa_stream import native
from sa_stream.bounded.windows import _contents
from sa_stream.records import decoder
from sa_stream.records.columns import CODED_COLUMNS
from sa_stream.records.fields import RESULT_TYPE, resolve_field_lists
from sa_stream.records.micros import DURATIONS
from sa_stream.records.parser import Parser
from sa_stream.records.request_ids import REQUEST_ID
from tests.log_lines import NOW_MS, line_of
from tests.oracle import CANONICAL

FIELDS = (*CANONICAL, *({"origin-fbl", "c-country"} - set(CANONICAL)))
LISTS = resolve_field_lists(",".join(FIELDS), "", "c-country")
TIMES = ["0.1", "0.2", "2200.5", "9" * 20, "9" * 21]
OTHERS = {
    "timestamp": ["1767223800.1", "1767223800.2"],
    "sc-status": ["200", "404"],
    "sc-bytes": ["1", "2", "9" * 14, "9" * 15],
    REQUEST_ID: ["one", "two"],
    "x-edge-result-type": ["Hit", "Miss"],
    "x-edge-location": ["LHR62-C1", "FRA2"],
    "cs-protocol": ["https", "ws"],
    "ssl-protocol": ["TLSv1.2", "TLSv1.3"],
    "cs-protocol-version": ["HTTP/1.1", "HTTP/2.0"],
    "cs-method": ["GET", "PUT"],
    "c-country": ["DE", "FR"],
    **dict.fromkeys(DURATIONS, TIMES),
}


def contents(values: list[dict[str, str]]) -> list[int]:
    lines = [line_of({"timestamp": "1767223800.1", REQUEST_ID: "one"} | value, FIELDS) + b"\n" for value in values]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "FEW_ROWS", -1)
        columns = Parser(LISTS).parse([b"".join(lines)], np.array([NOW_MS]))
    assert len(columns) == len(values)
    return _contents(columns).tolist()


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("field", ["timestamp", "sc-status", "sc-bytes", REQUEST_ID, *CODED_COLUMNS, *DURATIONS])
def test_records_that_differ_in_one_field_have_other_contents(field: str) -> None:
    name = "x-edge-result-type" if field == RESULT_TYPE else field
    values = OTHERS.get(name, ["/a", "/b"])
    found = contents([{name: value} for value in values])
    assert len(set(found)) == len(values)
    assert contents([{name: value} for value in values * 2]) == found * 2


@pytest.mark.usefixtures("both_ways")
def test_what_is_behind_a_query_is_no_content_and_a_path_that_begins_like_the_missing_one_is() -> None:
    paths = ["/a?x", "/a?y", "/a", "-?x", "-?y", "-", "?x", "?y"]
    found = dict(zip(paths, contents([{"cs-uri-stem": path} for path in paths]), strict=True))
    assert found["/a?x"] == found["/a?y"] == found["/a"]
    assert found["?x"] == found["?y"]
    assert len({found[path] for path in ("-?x", "-?y", "-")}) == 3


def test_contents_are_the_same_with_the_kernel_and_without_it() -> None:
    values = [{"cs-uri-stem": path, "time-taken": taken} for path in ("-?x", "/a?b", "-") for taken in ("0.10", "0.1")]
    ways = []
    for available in {False, native.AVAILABLE}:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native, "AVAILABLE", available)
            ways.append(contents(values))
    assert all(way == ways[0] for way in ways)
