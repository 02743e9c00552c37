import os
import re
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_stream.errors import Source_Error
from sa_stream.log_file import Log_File, Log_Form, Log_Lines, of_whole_files
from sa_stream.sources import local_file
from sa_stream.sources.local_file import NEAR_BYTES, Found, Local_File
from sa_stream.sources.log_files import Log_Files, Open_Logs
from sa_stream.sources.log_ranges import Line_Range, ranges_of
from sa_stream.sources.log_reader import read_log

LINES = st.lists(st.sampled_from([b"", b"a", b"#Fields: x", b"bc\r", b"{", b"\x1f\x8b", b"x" * 40]), max_size=12)


def content_of(source: Line_Range, amount: int) -> bytes:
    found = []
    while block := source.read(amount):
        found.append(block)
    source.close()
    return b"".join(found)


@settings(max_examples=300)
@given(
    LINES, st.booleans(), st.lists(st.integers(1, 200), max_size=4), st.integers(1, 90), st.sampled_from([1, 16, 64])
)
def test_ranges_have_each_line_once_and_whole(
    lines: list[bytes], ended: bool, cuts: list[int], amount: int, near_bytes: int
) -> None:
    content = b"\n".join(lines) + (b"\n" if ended else b"")
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_file, "NEAR_BYTES", near_bytes)
        path = Path(folder, "file")
        path.write_bytes(content)
        begins = sorted({0, *(cut for cut in cuts if cut < len(content))})
        found = [
            content_of(Line_Range(str(path), begin, end, Found(len(content))), amount)
            for begin, end in zip(begins, [*begins[1:], None], strict=True)
        ]
    expected = dict.fromkeys(begins, b"")
    at = 0
    for line in re.findall(rb"[^\n]*\n|[^\n]+", content):
        expected[max(begin for begin in begins if begin <= at)] += line
        at += len(line)
    assert found == list(expected.values())


def test_a_line_longer_than_its_range_is_read_by_whoever_has_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\n" + b"b" * 3_000_000 + b"\nc\n")
    ranges = [(0, 1_000_000), (1_000_000, 2_000_000), (2_000_000, 3_000_001), (3_000_001, None)]
    found = [content_of(Line_Range(str(path), *each, Found()), 1 << 16) for each in ranges]
    assert [len(part) for part in found] == [3_000_003, 0, 0, 2]


def test_a_file_that_grows_is_read_to_its_end_and_what_begins_a_range_is_not_taken_for_a_form(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1\tx\n" * 1_000 + b"{}\n" * 1_000)
    (part,) = Log_Files([path]).places
    ranges = ranges_of(part, 1_000)  # type: ignore[arg-type]
    assert len(ranges) == 7
    with path.open("ab") as more:
        more.write(b"[more]\n")
    found = b""
    for each in ranges:
        file = Log_File(each.name)
        found += b"".join(piece.content for piece in read_log(each, file) if isinstance(piece, Log_Lines))
        assert (file.form, file.error) == (Log_Form.TEXT, None)
    assert found == path.read_bytes()


@pytest.mark.parametrize("in_ranges", [False, True])
def test_a_file_that_is_cut_while_it_is_read_is_named_and_gives_its_whole_lines(
    in_ranges: bool, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1\tx\n" * 100_000)
    (part,) = Log_Files([path]).places
    parts = ranges_of(part, 100_000) if in_ranges else [part]  # type: ignore[arg-type]
    files, found = [], b""
    for file, pieces in Open_Logs(None, buffer_bytes=4_000)(parts):
        files.append(file)
        for piece in pieces:
            found += piece.content  # type: ignore[union-attr]
            os.truncate(path, 200_002)
    (whole,) = of_whole_files(files)
    assert whole.error is not None
    assert "file cannot be read: it was cut while it was read, and had 400,000 bytes before" in whole.error
    assert found == b"1\tx\n" * 50_000


def test_a_file_that_another_one_takes_the_place_of_while_its_ranges_are_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1\tx\n" * 10_000)
    (part,) = Log_Files([path]).places
    first, *others = ranges_of(part, 10_000)  # type: ignore[arg-type]
    assert content_of(first.open(), 1 << 20) == b"1\tx\n" * 2_500
    path.rename(tmp_path / "file.1")
    path.write_bytes(b"1\ty\n" * 10_000)
    for each in others:
        with pytest.raises(Source_Error, match="file cannot be read: another file has taken its place"):
            list(read_log(each, Log_File(each.name)))


@pytest.mark.parametrize(
    "content",
    [
        b"\x1f\x8b" * 9_000,
        b"\x28\xb5\x2f\xfd" * 9_000,
        b"\xef\xbb\xbf1\tx\n" * 9_000,
        b"#Version: 1.0\n#Fields: date\n" * 900,
        b'{"date": 1}\n' * 900,
        b"PAR1" * 9_000,
        b"\xff\xfe" + b"1\0\t\0\n\0" * 900,
        b"BZh" * 9_000,
    ],
    ids=["gzip", "zstd", "mark", "names", "json", "parquet", "utf-16", "other"],
)
def test_only_plain_lines_without_names_are_split(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    (part,) = Log_Files([path]).places
    assert ranges_of(part, 1_000) == [part]  # type: ignore[arg-type]


def test_a_local_file_is_read_to_the_end_of_a_near_line_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "log"
    near, far = [b"x" * length + b"\n" for length in (0, 98, 99, 100, NEAR_BYTES - 2)], b"y" * 2 * NEAR_BYTES
    path.write_bytes(b"".join(near) + far)
    for amount in (1, 99, 100, 101):
        file = Local_File(str(path), Found(path.stat().st_size))
        blocks = list(iter(partial(file.read, amount), b""))
        file.close()
        assert b"".join(blocks) == path.read_bytes()
        of_lines = [block for block in blocks if b"x" in block or b"\n" in block]
        assert b"".join(of_lines) == b"".join(near)
        assert all(block.endswith(b"\n") and len(block) < amount + NEAR_BYTES for block in of_lines)
        assert {len(block) for block in blocks[len(of_lines) : -1]} <= {amount}
