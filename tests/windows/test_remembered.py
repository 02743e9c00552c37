"""What is remembered by hash is what a dict would have."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sa_stream.windows.remembered import Remembered

HASHES = st.one_of(st.integers(0, 5), st.sampled_from([2**63, 2**64 - 1, 2**64 - 2]))


@given(st.lists(st.dictionaries(HASHES, st.integers(1, 9), max_size=6), max_size=5), st.lists(HASHES, max_size=9))
def test_numbers_are_found_as_in_a_dict(given: list[dict[int, int]], asked: list[int]) -> None:
    remembered, expected = Remembered(), dict[int, int]()
    for numbers in given:
        remembered.put(np.array(list(numbers), np.uint64), np.array(list(numbers.values()), np.int64))
        expected |= numbers
        found = remembered.of(np.array(asked, np.uint64)).tolist()
        assert found == [expected.get(key, 0) for key in asked]
        assert len(remembered) == len(expected)
    remembered.forget()
    assert len(remembered) == 0
    assert not remembered.of(np.array(asked, np.uint64)).any()
