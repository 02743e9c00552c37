"""The binary format of the state store: what it refuses, and how it says so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.errors import Corrupt_State, Unknown_Version
from sa_stream.format import HEADER_BYTES, READABLE, VERSION, pack, raw, unpack, unraw
from sa_stream.timing import Timing
from sa_stream.windows.partition_state import Partition_State
from sa_stream.windows.window import Window
from tests.later_version import in_version

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(values)
def test_what_was_packed_is_unpacked(content: object) -> None:
    assert unpack("thing", pack("thing", content)) == content
    assert pack("thing", content) == pack("thing", content)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64, np.uint64, ">i8"])
def test_arrays_come_back_equal_writable_and_little_endian(dtype: object) -> None:
    array = np.array([0, 1, 65_535 % 30_000, 7], dtype)
    for one in (array, array[::2], array[:0]):
        stored = raw(one)
        assert stored[0][0] in "<|"
        back = unraw(stored)
        assert back.tolist() == one.tolist()
        back[:] = 0
    assert raw(array)[1] == raw(array.astype(np.dtype(dtype).newbyteorder("<")))[1]


def test_an_unknown_version_is_refused_by_name() -> None:
    with pytest.raises(
        Unknown_Version, match=r"window partials/x/1 has format version 5; this program knows versions up to 4"
    ):
        unpack("window", in_version(VERSION + 1, pack("window", [])), "partials/x/1")


def test_a_torn_version_is_a_torn_object_and_no_newer_program_s() -> None:
    data = pack("window", [1])
    for version in {*range(0x1_0000)} - {*READABLE}:
        with pytest.raises(Corrupt_State):
            unpack("window", data[:4] + version.to_bytes(2, "big") + data[6:])


@pytest.mark.parametrize("version", READABLE)
def test_older_versions_are_read(version: int) -> None:
    data = bytearray(pack("window", [1]))
    data[4:6] = version.to_bytes(2, "big")
    assert unpack("window", bytes(data)) == [1]


def test_any_flipped_byte_is_noticed() -> None:
    data = pack("window", [1, "two", b"three"])
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x21
        with pytest.raises(Corrupt_State, match="window a/key"):
            unpack("window", bytes(damaged), "a/key")


def test_any_truncation_is_noticed() -> None:
    data = pack("window", list(range(20)))
    for length in range(len(data)):
        with pytest.raises(Corrupt_State):
            unpack("window", data[:length])
    with pytest.raises(Corrupt_State):
        unpack("window", data + b"\0")
    assert len(data) > HEADER_BYTES


def test_an_object_of_another_kind_is_refused() -> None:
    with pytest.raises(Corrupt_State, match="'partition', expected a 'window'"):
        Window.from_bytes(Partition_State("p", "l", Timing()).to_bytes())
    with pytest.raises(Corrupt_State, match="'window', expected a 'partition'"):
        Partition_State.from_bytes(Window(0).to_bytes(), Timing())


def test_an_empty_window_and_an_empty_state_come_back() -> None:
    assert Window.from_bytes(Window(5).to_bytes()).to_bytes() == Window(5).to_bytes()
    state = Partition_State("p", "l", Timing(), ("a", "b"))
    assert Partition_State.from_bytes(state.to_bytes(), Timing()).to_bytes() == state.to_bytes()
