"""What a file is, is told by its first bytes and its first line: it is read, or named with what to do."""

import bz2
import gzip
import io
import lzma
import random
import tarfile
import tracemalloc
import zipfile

import pytest
from backports import zstd

from sa_stream.log_file import Log_Form
from sa_stream.sources.log_files import Log_Files

LINE = b"1771252704.504\t0.012\t404\t/p/4\tHTTP/2.0\t-\n"
STANDARD = b"2026-02-16\t14:54:04\tLHR61-P2\n"
HEADER = b"#Version: 1.0\n#Fields: date time x-edge-location\n"
JSON = b'{"date":"2026-02-16","time":"14:54:04","x-edge-location":"LHR61-P2"}\n'


def looked_at(tmp_path, content: bytes, buffer_bytes: int = 1 << 20):
    """(lines, note) of a file whose name says nothing."""
    (tmp_path / "file").write_bytes(content)
    files = Log_Files([tmp_path / "file"], buffer_bytes)
    lines = b"".join(piece.content for piece in files)
    return lines, files.files[0]


def zipped(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.log", content)
    return out.getvalue()


def tarred(content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("a.log")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("buffer_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    "packed",
    [
        LINE * 9,
        b"\xef\xbb\xbf" + LINE * 9,
        gzip.compress(LINE * 9),
        gzip.compress(gzip.compress(LINE * 9)),
        gzip.compress(LINE * 4) + bytes(600) + gzip.compress(LINE * 5),
        gzip.compress(LINE * 9) + b"\x1fno member",
        gzip.compress(b"\xef\xbb\xbf" + LINE * 9),
        zstd.compress(LINE * 9),
        zstd.compress(LINE * 4) + zstd.compress(LINE * 5),
        gzip.compress(zstd.compress(LINE * 9)),
        (LINE * 9).decode().encode("utf-16"),
        b"\xfe\xff" + (LINE * 9).decode().encode("utf-16-be"),
        gzip.compress((LINE * 9).decode().encode("utf-16")),
    ],
    ids=[
        *("plain", "mark", "gzip", "twice", "members", "trailing", "gzip-mark", "zstd", "frames", "zstd-in-gzip"),
        *("utf-16", "utf-16-be", "utf-16-gz"),
    ],
)
def test_packings_marks_and_encodings_give_the_same_lines(tmp_path, packed, buffer_bytes):
    lines, file = looked_at(tmp_path, packed, buffer_bytes)
    assert (lines, file.error, file.form) == (LINE * 9, None, Log_Form.TEXT)
    assert ("goes on behind its gzip content" in (file.warning or "")) == packed.endswith(b"no member")


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (LINE, Log_Form.TEXT),
        (b"", Log_Form.TEXT),
        (b"\n\n# a comment\n" + LINE, Log_Form.TEXT),
        (HEADER + STANDARD, Log_Form.W3C),
        (HEADER.replace(b"\n", b"\r\n") + STANDARD, Log_Form.W3C),
        (JSON, Log_Form.JSON_LINES),
        (b"\n" + JSON.replace(b"\n", b"\r\n"), Log_Form.JSON_LINES),
        (JSON.replace(b"LHR61", b"\xff") + JSON, Log_Form.JSON_LINES),
        (JSON.replace(b"LHR61", b"}{" * 40_000) + JSON, Log_Form.JSON_LINES),
        (b" \n\t " + JSON, Log_Form.JSON_LINES),
    ],
)
def test_the_form_is_told_by_the_first_line(tmp_path, content, form):
    lines, file = looked_at(tmp_path, content)
    assert (lines, file.error, file.form) == (content, None, form)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (zipped(LINE), "a zip archive"),
        (bz2.compress(LINE), "bzip2"),
        (lzma.compress(LINE), "xz"),
        (tarred(LINE), "a tar archive"),
        (gzip.compress(tarred(LINE)), "a tar archive"),
        (LINE.decode().encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ((HEADER + STANDARD).decode().encode("utf-16-be"), "UTF-16 without a byte order mark"),
        (LINE.replace(b"\t", b","), "CSV"),
        (b"timestamp,c-ip,sc-status,sc-bytes,cs-method,cs-host\n", "CSV"),
        (LINE.replace(b"\n", b"\r") * 3, "carriage returns alone"),
        ((HEADER + STANDARD).replace(b"\n", b"\r"), "carriage returns alone"),
        (HEADER.replace(b"\n", b"\r") + b"\n" + STANDARD, "carriage returns alone"),
        (LINE[:-1] * 3, "records without newlines"),
        (STANDARD, "without its line `#Fields:`"),
        (b"<?xml version='1.0'?><Error/>\n", "XML or HTML"),
        (b"[" + JSON[:-1] + b"]\n", "a JSON array"),
        (b"  [" + JSON[:-1] + b"]\n", "a JSON array"),
        (b'{\n "date": "2026-02-16"\n}\n', "spread over several lines"),
        (b'{"date":' + b"[" * 5_000 + b"]" * 5_000 + b"}\n" + JSON, "or damaged"),
        (JSON[:-1] + JSON, "JSON objects without newlines"),
        (JSON[:-1] * 2_000, "JSON objects without newlines"),
        (JSON[:-1] + b" " + b"x" * 80_000, "or damaged"),
        (b'{"level":"info","time":"now"}\n', "JSON that is no log"),
        (b'{"messageType":"DATA_MESSAGE","logGroup":"x","logEvents":[]}\n', "a CloudWatch Logs subscription"),
        (b'{"requestId":"1","timestamp":1,"records":[{"data":"eA=="}]}\n', "a delivery of Firehose"),
        (b'{"requestId":"1","timestamp":1,"records":[{"data":"%b"}]}' % (b"eA" * 40_000), "a delivery of Firehose"),
        (b'{"messageType":"x","logEvents":[{"message":"%b"}]}' % (rb"{\"sc-status\":1}" * 9_000), "a CloudWatch Logs"),
        (b'{"level":"info","time":"%b"}' % (b"now" * 40_000), "JSON that is no log"),
        (b'{"recordId":"1","result":"Ok","data":"eA=="}\n', "records as a transformation of Firehose"),
        (b'{"rawData":"eA==","errorCode":"x"}\n', "an error record of Firehose"),
        (b'{"Records":[{"kinesis":{"data":"eA=="}}]}\n', "Kinesis"),
        (b"\xf3\x89\x9a\xc2\n\x01", "Kinesis Producer Library"),
    ],
)
def test_what_is_no_log_is_said_by_name_in_one_sentence_with_what_to_do(tmp_path, content, kind):
    lines, file = looked_at(tmp_path, content)
    assert lines == b""
    assert file.error is not None
    assert kind in file.error
    assert file.error.startswith(f"{tmp_path / 'file'} looks like ")
    assert "which is not read: " in file.error
    assert "\n" not in file.error


def test_what_is_packed_more_than_twice_is_not_unpacked(tmp_path):
    lines, file = looked_at(tmp_path, gzip.compress(gzip.compress(gzip.compress(LINE))))
    assert (lines, "packed more than 2 times" in file.error) == (b"", True)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress, lambda data: gzip.compress(gzip.compress(data))])
def test_what_breaks_off_gives_its_whole_lines(tmp_path, pack):
    noise = random.Random(1)
    content = b"".join(b"%d\t%d\n" % (1771252704, noise.getrandbits(200)) for _ in range(9_000))
    lines, file = looked_at(tmp_path, pack(content)[:-1000])
    assert len(lines) > len(content) // 2
    assert content.startswith(lines)
    assert lines.endswith(b"\n")
    assert "breaks off" in file.error


def test_a_bomb_in_a_bomb_is_read_in_little_memory(tmp_path):
    (tmp_path / "bomb").write_bytes(gzip.compress(gzip.compress(b"\n" * (256 << 20))))
    tracemalloc.start()
    try:
        assert sum(len(piece.content) for piece in Log_Files([tmp_path / "bomb"], 1 << 20)) == 256 << 20
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
