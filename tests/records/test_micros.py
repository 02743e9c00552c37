"""Times as whole microseconds: what a text is, that columns of them may be cut and joined, and which there are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_stream.records import micros as module
from sa_stream.records.coded import FEW_VALUES, Coded
from sa_stream.records.micros import LONG_US, NO_TIME, Micros, micros_of, numbered_micros

LONG = st.sampled_from([LONG_US - 1, LONG_US, LONG_US + 1, 10**36 - 1])
COLUMN = st.lists(st.one_of(st.integers(NO_TIME, 5_000), LONG), max_size=30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("0.25", 250_000), ("0", 0), ("000", 0), ("0.0000005", 0), ("0.0000015", 2), ("1.1", 1_100_000)],
        *[("999999.999999", 999_999_999_999), ("9" * 30, int("9" * 30) * 10**6), ("0" * 29 + "1", 1_000_000)],
        *[(text, NO_TIME) for text in ("", "-", None, "1.", ".5", "-1", "+1", "1e3", " 1", "1 ", "٣", "1.2.3")],
        *[(text, NO_TIME) for text in ("9" * 31, "1." + "0" * 30, "nan", "1\n", "0x1", "1,5")],
    ],
)
def test_a_text_is_whole_microseconds_or_none(text: str | None, expected: int) -> None:
    assert micros_of(text) == micros_of(text) == expected


def test_what_is_remembered_of_texts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN_MAX", 3)
    monkeypatch.setattr(module, "_known", {})
    assert [micros_of(f"{n}.5") for n in range(20)] == [n * 1_000_000 + 500_000 for n in range(20)]
    micros_of("0" * 25)
    assert len(module._known) <= 3
    assert all(len(text) <= module.KNOWN_CHARS_MAX for text in module._known)


@given(st.lists(COLUMN, min_size=1, max_size=4), st.data())
def test_columns_may_be_joined_and_taken_from(parts: list[list[int]], data: st.DataObject) -> None:
    whole = [us for part in parts for us in part]
    joined = Micros.concatenated([Micros.of(part) for part in parts])
    assert joined.each() == Micros.of(whole).each() == whole
    assert (joined.values < LONG_US).all()
    rows = data.draw(st.lists(st.integers(0, len(whole) - 1))) if whole else []
    assert joined.taken(np.array(rows, np.int64)).each() == [whole[row] for row in rows]


@given(st.lists(st.sampled_from(["0.1", "0.1000", "-", "", "2", "9" * 20, "x"]), min_size=1))
def test_a_column_of_text_is_what_its_texts_are(texts: list[str]) -> None:
    assert Micros.of_texts(Coded.of_texts(texts)).each() == [micros_of(text) for text in texts]


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=40),
    st.sampled_from([1, 10]),
    st.sampled_from([1, 7, 1_000, 1_000_003]),
)
def test_numbered_times_are_what_they_were(values: list[int], times: int, unit: int) -> None:
    each = [us * unit for us in values] * times
    codes, found = numbered_micros(np.array(each, np.int64))
    assert found[codes].tolist() == each
    assert len(found) == len(set(each)) or len(each) <= FEW_VALUES or unit > 1_000
