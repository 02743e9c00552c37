"""Log files: whole lines out of everything that may hold some, and sentences for what cannot be read."""

import gzip
import io
import os
import sys

import boto3
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from sa_stream.errors import Source_Error, Store_Unavailable
from sa_stream.records import decoder
from sa_stream.sources.log_files import Log_Files
from sa_stream.sources.log_reader import LINE_BYTES_MAX

LINES = b"".join(b"line %d\n" % i for i in range(50_000))


def read(*paths, **more) -> bytes:
    files = Log_Files(paths, **more)
    content = b"".join(piece.content for piece in files)
    assert [file.error for file in files.files if file.error] == []
    return content


def errors_of(files: Log_Files) -> str:
    """What is said of the files, after all of them were read."""
    for _ in files:
        pass
    return "\n".join(file.error for file in files.files if file.error)


def test_plain_gzip_and_joined_gzip_files_give_the_same_lines(tmp_path):
    (tmp_path / "plain.gz").write_bytes(LINES)  # a name means nothing, the first bytes do
    (tmp_path / "packed.log").write_bytes(gzip.compress(LINES))
    half = LINES.index(b"\n", len(LINES) // 2) - 3  # a line may go on in the next member
    joined = gzip.compress(LINES[:half]) + gzip.compress(b"") + gzip.compress(LINES[half:]) + b"\0" * 512
    (tmp_path / "joined").write_bytes(joined)
    for name in ("plain.gz", "packed.log", "joined"):
        assert read(tmp_path / name) == LINES
        assert read(tmp_path / name, buffer_bytes=1000) == LINES


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40)), st.integers(1, 50), st.booleans())
def test_every_buffer_ends_with_a_newline_and_no_byte_is_lost(tmp_path, parts, buffer_bytes, packed):
    content = b"x" + b"\n".join(parts)  # no magic bytes, no form of its own
    (tmp_path / "file").write_bytes(gzip.compress(content) if packed else content)
    buffers = [piece.content for piece in Log_Files([tmp_path / "file"], buffer_bytes)]
    assert all(buffer.endswith(b"\n") for buffer in buffers)
    assert b"".join(buffers) == (content + b"\n" if content and not content.endswith(b"\n") else content)


def test_thousands_of_small_gzip_members_are_read_quickly(tmp_path):
    (tmp_path / "many").write_bytes(gzip.compress(b"one line\n") * 50_000)
    assert read(tmp_path / "many") == b"one line\n" * 50_000


def test_buffers_are_about_a_mebibyte(tmp_path):
    (tmp_path / "big.gz").write_bytes(gzip.compress(LINES * 20))
    sizes = [len(piece.content) for piece in Log_Files([tmp_path / "big.gz"])]
    assert sum(sizes) == len(LINES) * 20
    assert max(sizes) <= (2 << 20) + 20
    assert min(sizes[:-1]) >= 1 << 20


def test_a_huge_line_costs_no_memory_and_stays_too_long(tmp_path):
    huge = tmp_path / "huge.gz"
    with gzip.open(huge, "wb", 1) as file:
        file.write(b"before\n")
        for _ in range(64):
            file.write(b"x" * (1 << 20))
        file.write(b"\nafter\n")
    lines = read(huge).split(b"\n")
    assert (lines[0], lines[2], len(lines)) == (b"before", b"after", 4)
    assert LINE_BYTES_MAX < len(lines[1]) <= (8 << 20)
    assert max(len(piece.content) for piece in Log_Files([huge])) < 9 << 20


def test_a_line_is_too_long_also_with_a_carriage_return_where_it_is_cut(tmp_path):
    """It would be the end of the longest line that may be."""
    begin = b"x" * LINE_BYTES_MAX
    (tmp_path / "long").write_bytes(begin + b"\r and more\n" + begin + b"\r\n")
    too_long, longest, _ = read(tmp_path / "long").split(b"\n")
    assert len(too_long.removesuffix(b"\r")) > LINE_BYTES_MAX
    assert longest == begin + b"\r"


def test_folders_are_read_recursively_in_order_without_hidden_files(tmp_path):
    for name in ("b/2.log", "a.log", "b/1.log", ".hidden", ".git/x", "c/.x/y"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(name.encode())
    assert read(tmp_path) == b"a.log\nb/1.log\nb/2.log\n"
    assert read(tmp_path / "b", tmp_path / "a.log") == b"b/1.log\nb/2.log\na.log\n"


def test_standard_input_is_read_plain_or_packed(monkeypatch):
    for content in (LINES, gzip.compress(LINES)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        files = Log_Files(["-"])
        assert files.total_bytes is None
        assert b"".join(piece.content for piece in files) == LINES
        assert not sys.stdin.buffer.closed


def test_progress_is_known_in_bytes_as_stored(tmp_path):
    packed = gzip.compress(LINES)
    (tmp_path / "1").write_bytes(packed)
    (tmp_path / "2").write_bytes(LINES)
    files = Log_Files([tmp_path])
    assert files.total_bytes == len(packed) + len(LINES)
    seen = [files.done_bytes for _ in files]
    assert seen == sorted(seen)
    assert seen[-1] == files.done_bytes == files.total_bytes


def test_a_gzip_file_that_breaks_off_gives_its_whole_lines_and_then_its_name(tmp_path):
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(LINES)[:-2000])
    files = Log_Files([broken], 10_000)
    lines = b"".join(piece.content for piece in files)
    assert files.files[0].error.startswith(f"{broken} is a gzip file that breaks off: its whole lines were read")
    assert len(lines) > len(LINES) // 2
    assert LINES.startswith(lines)
    assert lines.endswith(b"\n")


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_a_file_that_breaks_off_anywhere_in_its_second_member_is_named(tmp_path, compress):
    first, second = compress(b"first\n"), compress(b"second\n")
    for read_bytes in range(1, len(second)):
        (tmp_path / "broken").write_bytes(first + second[:read_bytes])
        files = Log_Files([tmp_path / "broken"])
        assert b"".join(piece.content for piece in files).startswith(b"first\n")
        assert "breaks off" in files.files[0].error


def test_a_damaged_gzip_file_is_named(tmp_path):
    packed = bytearray(gzip.compress(LINES))
    packed[-6] ^= 255
    (tmp_path / "damaged.gz").write_bytes(packed)
    assert "damaged.gz is not a whole gzip file" in errors_of(Log_Files([tmp_path / "damaged.gz"]))


def test_what_cannot_be_read_is_said_before_anything_is_read(tmp_path):
    (tmp_path / "there").write_bytes(LINES)
    with pytest.raises(Source_Error, match=r"absent.*No such file"):
        Log_Files([tmp_path / "there", tmp_path / "absent"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(Source_Error, match="folder without files"):
        Log_Files([tmp_path / "empty"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path):
    (tmp_path / "secret").write_bytes(LINES)
    (tmp_path / "secret").chmod(0)
    assert "secret cannot be read: Permission denied" in errors_of(Log_Files([tmp_path]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter everything")
def test_the_files_of_a_folder_that_may_be_listed_and_not_entered_are_named(tmp_path):
    (tmp_path / "a.log").write_bytes(b"a\n")
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed" / "b.log").write_bytes(LINES)
    (tmp_path / "listed").chmod(0o644)
    try:
        files = Log_Files([tmp_path])
        assert b"".join(piece.content for piece in files) == b"a\n"
        assert [file.error for file in files.files if file.error] == [
            f"{tmp_path}/listed/b.log cannot be read: Permission denied"
        ]
        with pytest.raises(Source_Error, match=r"b\.log cannot be read: Permission denied"):
            Log_Files([tmp_path / "listed" / "b.log"])
    finally:
        (tmp_path / "listed").chmod(0o755)


def test_what_vanishes_while_folders_are_looked_through_is_named(tmp_path, monkeypatch):
    for name in ("a.log", "gone.log", "z.log"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "folder").mkdir()
    stat = os.stat

    def late(path, **more):
        if str(path) == str(tmp_path / "gone.log"):
            os.unlink(path)
        if str(path) == str(tmp_path / "folder"):
            os.rmdir(path)
        return stat(path, **more)

    monkeypatch.setattr(os, "stat", late)
    files = Log_Files([tmp_path])
    assert b"".join(piece.content for piece in files) == b"a.log\nz.log\n"
    assert [file.error for file in files.files] == [
        f"{tmp_path}/folder cannot be read: No such file or directory",
        None,
        f"{tmp_path}/gone.log cannot be read: No such file or directory",
        None,
    ]


def test_a_name_that_is_no_text_can_be_printed(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"\xff.log")
    with open(path, "wb") as file:
        file.write(b"PK\x03\x04 and more")
    files = Log_Files([tmp_path])
    assert errors_of(files).startswith(f"{tmp_path}/\\xff.log ")
    assert files.files[0].name == f"{tmp_path}/\\xff.log"
    with pytest.raises(Source_Error, match=r"/\\xff-absent cannot be read"):
        Log_Files([os.fsdecode(path[:-4] + b"-absent")])


def test_what_cannot_be_read_is_named_and_all_others_are_read(tmp_path):
    (tmp_path / "a.log").write_bytes(b"a\n")
    (tmp_path / "b.gz").write_bytes(gzip.compress(LINES)[:-9])
    (tmp_path / "c.zip").write_bytes(b"PK\x03\x04 and more")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "e.log").write_bytes(b"e\n")
    os.mkfifo(tmp_path / "pipe")
    files = Log_Files([tmp_path])
    content = b"".join(piece.content for piece in files)
    assert content.startswith(b"a\n" + LINES[:1000])
    assert content.endswith(b"\ne\n")
    assert [(os.path.basename(file.name), bool(file.error)) for file in files.files] == [
        ("pipe", False),
        ("a.log", False),
        ("b.gz", True),
        ("c.zip", True),
        ("dangling", True),
        ("e.log", False),
    ]


def test_links_to_folders_are_followed_once(tmp_path):
    (tmp_path / "logs" / "day").mkdir(parents=True)
    (tmp_path / "logs" / "day" / "1.log").write_bytes(b"1\n")
    (tmp_path / "logs" / "day" / "up").symlink_to(tmp_path / "logs")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "2.log").write_bytes(b"2\n")
    (tmp_path / "logs" / "link").symlink_to(tmp_path / "elsewhere")
    files = Log_Files([tmp_path / "logs"])
    assert b"".join(piece.content for piece in files) == b"1\n2\n"
    (skipped,) = [file for file in files.files if file.warning]
    assert skipped.name == str(tmp_path / "logs" / "day" / "up")
    assert "which is read once" in skipped.warning


def test_a_closed_standard_input_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(Source_Error, match="standard input cannot be read: it is closed"):
        Log_Files(["-"])


@pytest.fixture
def s3(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="my.logs.example")
        yield client


def test_s3_objects_under_a_prefix_are_read_in_order(s3):
    for key, body in {"p/2": gzip.compress(LINES), "p/1": b"first\n", "p/": b"", "q/3": b"other\n"}.items():
        s3.put_object(Bucket="my.logs.example", Key=key, Body=body)
    files = Log_Files(["s3://my.logs.example/p/"], 10_000)
    assert files.total_bytes == len(gzip.compress(LINES)) + 6
    assert b"".join(piece.content for piece in files) == b"first\n" + LINES
    assert files.done_bytes == files.total_bytes


def test_s3_mistakes_are_said(s3, monkeypatch):
    with pytest.raises(Source_Error, match="NoSuchBucket"):
        Log_Files(["s3://absent/p"])
    with pytest.raises(Source_Error, match="no object"):
        Log_Files(["s3://my.logs.example/p"])


def test_an_s3_that_does_not_answer_is_unavailable(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(Store_Unavailable, match="does not answer"):
        Log_Files(["s3://bucket/p"])


def test_a_file_s_longest_line_is_the_longest_that_the_decoder_takes() -> None:
    assert LINE_BYTES_MAX == decoder.LINE_BYTES_MAX
