"""What a file of logs is, by its first bytes and its first line, whatever its name says: one of the forms that can be
read, or a sentence that says what it looks like and what to do."""

import codecs
import json
import re
from collections.abc import Iterator
from itertools import takewhile

from sa_stream.errors import Source_Error
from sa_stream.log_file import W3C_HEADER, Log_Form

BYTE_ORDER_MARK = codecs.BOM_UTF8
_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

# What is told by its first bytes: magic, what it is, what to do.
_UNPACK = "unpack it first"
_BY_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"PK\x05\x06", "an empty zip archive", _UNPACK),
    (b"BZh", "bzip2", _UNPACK),
    (b"\xfd7zXZ\x00", "xz", _UNPACK),
    (b"\x04\x22\x4d\x18", "lz4", _UNPACK),
    (b"\xff\x06\x00\x00sNaPpY", "snappy", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"ORC", "ORC", "let Firehose write the records as they come, without conversion"),
    (b"Obj\x01", "Avro", "convert it to lines first"),
    (
        b"\xf3\x89\x9a\xc2",
        "records that the Kinesis Producer Library has aggregated",
        "de-aggregate them first: CloudFront writes none",
    ),
)
_PARQUET = b"PAR1"
_TAR_AT, _TAR = 257, b"ustar"

_STANDARD_LINE = re.compile(rb"\d{4}-\d\d-\d\d\t\d\d:\d\d:\d\d\t")
_JOINED_RECORD = re.compile(rb"(?<=[^\t\n])\d{10}\.\d{3}\t")
_UTF_16_TEXT = re.compile(rb"(?:[ -~]\0){4}|(?:\0[ -~]){4}")
_LOG_NAMES = ("sc-", "cs-", "cs(", "x-edge-", "x-host-", "timestamp(", "timestamp-ms")
_COMMAS_MIN = 5
_JSON = json.JSONDecoder()
_JSON_NAME = re.compile(r'"([\w()-]+)"\s*:')

# Names by which a JSON object shows that it is the envelope of other records.
_ENVELOPES: tuple[tuple[frozenset[str], str, str], ...] = (
    (
        frozenset({"messageType", "logEvents"}),
        "a CloudWatch Logs subscription",
        "write out the message of each of its logEvents, one a line",
    ),
    (
        frozenset({"deliveryStreamArn", "records"}),
        "an invocation by Firehose",
        "write out the base64-decoded data of each of its records",
    ),
    (
        frozenset({"requestId", "records"}),
        "a delivery of Firehose to an HTTP endpoint",
        "write out the base64-decoded data of each of its records",
    ),
    (
        frozenset({"recordId", "data"}),
        "records as a transformation of Firehose gets or gives them",
        "write out the base64-decoded data of each",
    ),
    (
        frozenset({"rawData", "errorCode"}),
        "an error record of Firehose",
        "write out its base64-decoded rawData",
    ),
    (
        frozenset({"Records"}),
        "an event or an answer of Kinesis",
        "write out the base64-decoded data of each of its Records",
    ),
    (
        frozenset({"message", "timestamp"}),
        "an export of CloudWatch Logs",
        "write out the message of each, one a line",
    ),
)


def utf_16_of(head: bytes) -> str | None:
    """The encoding, if a byte order mark says that it is UTF-16."""
    return _UTF_16.get(head[:2])


def decoded(blocks: Iterator[bytes], encoding: str, name: str) -> Iterator[bytes]:
    """Blocks of UTF-16 as UTF-8, without their mark."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    first = True
    for block in blocks:
        text = decoder.decode(block)
        yield text.removeprefix("\ufeff").encode() if first else text.encode()
        first = first and not text
    rest = decoder.decode(b"", final=True)
    if rest:
        raise Source_Error(f"{name} breaks off within a character of {encoding}: its whole lines were read")


def form_of(head: bytes, name: str) -> Log_Form:
    """The form of a file that begins like this, unpacked. Raises Source_Error for what cannot be read."""
    if head.startswith(_PARQUET):
        return Log_Form.PARQUET
    for magic, kind, advice in _BY_MAGIC:
        if head.startswith(magic):
            raise _refusal(name, kind, advice)
    if head[_TAR_AT:].startswith(_TAR):
        raise _refusal(name, "a tar archive", _UNPACK)
    head = head.removeprefix(BYTE_ORDER_MARK)
    if _UTF_16_TEXT.match(head):
        raise _refusal(name, "UTF-16 without a byte order mark", "convert it: `iconv -f UTF-16LE -t UTF-8`")
    lines = (line.strip(b"\r") for line in head.split(b"\n"))
    lines_found = [line for line in lines if line.strip()]
    if not lines_found:
        return Log_Form.TEXT
    if lines_found[0].lstrip()[:1] in (b"{", b"["):
        return _json_form(lines_found[0].lstrip(), b"\n" in head, name)
    _refuse_lone_returns(lines_found[0], name)  # also where all of the file is one comment by that
    if any(line.startswith(W3C_HEADER) for line in takewhile(lambda line: line.startswith(b"#"), lines_found)):
        return Log_Form.W3C
    first = next((line for line in lines_found if not line.startswith(b"#")), b"")
    _refuse_odd_line(first, name)
    return Log_Form.TEXT


def _refuse_odd_line(line: bytes, name: str) -> None:
    _refuse_lone_returns(line, name)
    if _STANDARD_LINE.match(line):
        raise _refusal(
            name,
            "a standard log without its line `#Fields:`",
            "put that line of another file of the same distribution in front of it",
        )
    if line[:10].isdigit() and len(_JOINED_RECORD.findall(line)) > 1:
        raise _refusal(
            name, "records without newlines between them", "let whoever writes it put a newline behind each record"
        )
    if b"\t" not in line and line.count(b",") >= _COMMAS_MIN:
        raise _refusal(name, "CSV", "expected are the tab-separated lines that CloudFront writes")
    if line.lstrip()[:1] == b"<":
        raise _refusal(name, "XML or HTML", "it may be the error page of a download: fetch the file again")


def _refuse_lone_returns(line: bytes, name: str) -> None:
    if b"\r" in line and (b"\t" in line.partition(b"\r")[2] or line.startswith(b"#")):
        raise _refusal(
            name, "lines that end in carriage returns alone", r"convert its line ends: `tr '\r' '\n' < FILE`"
        )


def _json_form(line: bytes, is_whole: bool, name: str) -> Log_Form:
    if line.startswith(b"["):
        raise _refusal(name, "a JSON array", "expected is one object a line: `jq -c '.[]'` makes that of it")
    text = line.decode("utf-8", "replace")
    try:
        found, end = _JSON.raw_decode(text)
    except (ValueError, RecursionError):
        found, end = {}, 0
        if not is_whole and len(line) >= 1 << 15:  # a long first line, of which this is the beginning
            found, end = dict.fromkeys(_JSON_NAME.findall(text)), len(text)
    if end and text[end:].lstrip().startswith("{"):
        raise _refusal(name, "JSON objects without newlines between them", "`jq -c .` puts one on each line")
    if text[end:].strip():
        raise _refusal(
            name, "JSON that is spread over several lines, or damaged", "expected is one object a line: `jq -c .`"
        )
    for names, kind, advice in _ENVELOPES:
        if names <= found.keys() and "sc-status" not in found:
            raise _refusal(name, kind, advice)
    if not any(key.replace("_", "-").startswith(_LOG_NAMES) for key in found):
        raise _refusal(name, "JSON that is no log of CloudFront's", "leave it out")
    return Log_Form.JSON_LINES


def _refusal(name: str, kind: str, advice: str) -> Source_Error:
    return Source_Error(f"{name} looks like {kind}, which is not read: {advice}")
