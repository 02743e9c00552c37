"""Which records cannot be of the list that reads them: none that CloudFront writes, all whose columns are shifted."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from sa_stream.embedded.generator import DIRT, Traffic
from sa_stream.records.columns import COLUMNS, FEW_ROWS, REASONS, STATUS, TIMESTAMP
from sa_stream.records.fields import PRESETS, resolve_field_lists
from sa_stream.records.parser import Parser
from sa_stream.records.shapes import RECOGNISED, cannot_be
from tests.log_lines import DEFAULTS, line_of

NOW_MS = 1_771_257_600_000
HOUR_MS = 3_600_000

# Every value that AWS's developer guide gives for these fields (July 2026), and protocols, versions and ciphers of its
# table of supported ones.
DOCUMENTED: dict[str, Sequence[str]] = {
    "cs-protocol": ("http", "https", "ws", "wss", "grpcs"),
    "x-edge-location": ("DFW3", "LHR62-C1", "IAD89-P3", "FRA56-P10", "SFO5-P1", "CMH68-P3", "HIO50"),
    "x-edge-request-id": ("k6WGMNkEzR5BEM_SaF47gjtX9zBDO2m349OY2an0QPEaUum1ZOLrow==", "4Z0qpYBmjrsG=="),
    "cs-protocol-version": ("HTTP/0.9", "HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "HTTP/3.0"),
    "x-edge-result-type": (
        *("Hit", "RefreshHit", "OriginShieldHit", "Miss", "LimitExceeded", "CapacityExceeded", "Error", "Redirect"),
        *("LambdaExecutionError", "LambdaLimitExceeded", "LambdaValidationError", "FunctionExecutionError"),
        *("FunctionThrottledError", "FunctionValidationError", "FunctionGeneratedResponse"),
    ),
    "x-edge-response-result-type": (
        "Hit",
        "RefreshHit",
        "Miss",
        "LimitExceeded",
        "CapacityExceeded",
        "Error",
        "Redirect",
    ),
    "x-edge-detailed-result-type": (
        *("AbortedOrigin", "ClientCommError", "ClientGeoBlocked", "ClientHungUpRequest", "Error", "InvalidRequest"),
        *("InvalidRequestBlocked", "InvalidRequestCertificate", "InvalidRequestHeader", "InvalidRequestMethod"),
        *("OriginCommError", "OriginConnectError", "OriginContentRangeLengthError", "OriginDnsError", "OriginError"),
        *("OriginHeaderTooBigError", "OriginInvalidResponseError", "OriginReadError", "OriginWriteError"),
        *("OriginZeroSizeObjectError", "SlowReaderOriginError", "MissGeneratedResponse"),
    ),
    "ssl-protocol": ("SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "ssl-cipher": (
        *("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "AES128-GCM-SHA256"),
        *("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "ECDHE-RSA-CHACHA20-POLY1305", "AES256-SHA"),
        *("ECDHE-RSA-AES256-GCM-SHA384", "AES128-SHA", "DES-CBC3-SHA", "RC4-MD5"),
    ),
}
PRESET = pytest.mark.parametrize("preset", list(PRESETS))


def reasons(lines: Sequence[bytes], fields: str, drop: str = "") -> list[str]:
    columns = Parser(resolve_field_lists(fields, drop)).parse([b"\n".join(lines)], np.array([NOW_MS]))
    return [REASONS[reason] for reason in columns.dropped.reason.tolist()]


def traffic(preset: str, count: int, **rates: float) -> list[bytes]:
    chunks = Traffic(7, preset, **rates).lines(NOW_MS - HOUR_MS, NOW_MS, count)  # type: ignore[arg-type]
    return b"".join(chunk.data for chunk in chunks).splitlines()


@PRESET
def test_no_line_of_the_generator_is_refused_for_its_columns(preset: str) -> None:
    assert reasons(traffic(preset, 50_000, duplicate_rate=0.01, late_rate=0.05, new_path_rate=0.1), preset) == []
    dirty = reasons(traffic(preset, 20_000, dirt_rate=0.3), preset)
    assert len(DIRT) > 5
    assert "columns" not in dirty


@PRESET
def test_no_documented_value_is_refused(preset: str) -> None:
    assert set(DOCUMENTED) == set(RECOGNISED)
    for name, values in DOCUMENTED.items():
        assert [value for value in (*values, "-", "", None) if cannot_be(name, value)] == []
    odd = {"timestamp": f"{NOW_MS // 1000 - 9}.000", "cs-method": "m-search", "cs-host": "203.0.113.9:8443"}
    pairs = product(DOCUMENTED["x-edge-result-type"], DOCUMENTED["cs-protocol"])
    lines = [line_of(odd | {"x-edge-result-type": r, "cs-protocol": p}, PRESETS[preset]) for r, p in pairs]
    assert reasons(lines, preset) == []


@PRESET
def test_every_rotation_of_the_columns_behind_the_time_is_refused(preset: str) -> None:
    lines = [line.split(b"\t") for line in traffic(preset, 400)]
    for places in range(1, 26):
        rotated = [b"\t".join([time, *rest[places:], *rest[:places]]) for time, *rest in lines]
        found = reasons(rotated, preset)
        assert set(found) <= {"status", "columns"}
        assert len(found) == len(lines), places


@PRESET
def test_every_rotation_of_all_columns_is_refused(preset: str) -> None:
    lines = [line.split(b"\t") for line in traffic(preset, 100)]
    for places in range(1, 27):
        assert len(reasons([b"\t".join([*line[places:], *line[:places]]) for line in lines], preset)) == len(lines)


def ordinary(**odd: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in odd.items()}
    return line_of({"timestamp": "1771252345.1", "x-edge-request-id": "id==", **named})


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ({"cs_protocol": "GET"}, []),  # a single one may be a new value
        ({"cs_protocol": "GET", "x_edge_location": "/a"}, ["columns"]),
        ({"cs_protocol": "GET", "ssl_cipher": "Hit"}, ["columns"]),
        ({"x_edge_result_type": "TLSv1.3", "x_edge_request_id": "0.071"}, ["columns"]),
        ({"cs_method": "?", "cs_host": "/", "cs_user_agent": "GET"}, []),  # what a client chooses
        ({"cs_protocol": "-", "x_edge_location": "", "x_edge_result_type": "-"}, []),  # what is missing fits
        ({"cs_protocol_version": "1", "ssl_protocol": "2"}, []),  # all that is read is where it should be
        ({"sc_status": "x", "cs_protocol": "GET", "x_edge_location": "/a"}, ["status"]),
        ({"timestamp": "x", "cs_protocol": "GET", "x_edge_location": "/a"}, ["timestamp"]),
        ({"timestamp": "1771999999", "cs_protocol": "GET", "x_edge_location": "/a"}, ["columns"]),
    ],
)
def test_two_columns_that_cannot_be_make_a_record_malformed_before_it_is_from_the_future(
    odd: dict[str, str], expected: list[str]
) -> None:
    assert reasons([ordinary(), ordinary(**odd), ordinary()], "canonical") == expected


def test_the_columns_that_do_not_fit_are_counted_by_name() -> None:
    lines = [ordinary(), ordinary(cs_protocol="GET", ssl_cipher="Hit"), ordinary(cs_protocol="GET", ssl_protocol="x")]
    dropped = Parser(resolve_field_lists("canonical", "")).parse([b"\n".join(lines)], np.array([NOW_MS])).dropped
    assert dropped.misfits == {"cs-protocol": 2, "ssl-cipher": 1, "ssl-protocol": 1}
    assert dropped.reason.tolist() == [COLUMNS, COLUMNS]
    assert TIMESTAMP < STATUS < COLUMNS < REASONS.index("future")


@pytest.mark.parametrize("lines", [1, FEW_ROWS])
def test_columns_of_a_record_that_is_malformed_for_another_reason_are_not_counted(lines: int) -> None:
    odd = [ordinary(**{name: "x"}, cs_protocol="GET", x_edge_location="/a") for name in ("timestamp", "sc_status")]
    content = b"\n".join([*odd, ordinary(cs_protocol="GET", ssl_cipher="Hit"), *[ordinary()] * lines])
    dropped = Parser(resolve_field_lists("canonical", "")).parse([content], np.array([NOW_MS])).dropped
    assert dropped.misfits == {"cs-protocol": 1, "ssl-cipher": 1}
    assert dropped.reason.tolist() == [TIMESTAMP, STATUS, COLUMNS]


def test_a_dropped_column_is_not_looked_at() -> None:
    odd = [ordinary(cs_protocol="GET", x_edge_location="/a")]
    assert reasons(odd, "canonical", "x-edge-location") == []
    assert reasons(odd, "canonical", "x-edge-result-type") == ["columns"]


def test_a_list_with_too_few_recognised_columns_doubts_no_record() -> None:
    assert reasons([b"1771252345\t200\tGET"], "timestamp,sc-status,cs-protocol") == []


def test_what_is_refused_does_not_depend_on_the_lines_beside_it() -> None:
    names = list(DEFAULTS)
    rng = np.random.default_rng(1)
    fields = f"timestamp,{','.join(names)}"
    lines = []
    for _ in range(300):
        values = DEFAULTS | {names[i]: DEFAULTS[names[j]] for i, j in rng.integers(0, len(names), (rng.integers(4), 2))}
        lines.append(b"\t".join([b"1771252345", *(values[name].encode() for name in names)]))
    together = reasons(lines, fields)
    assert sorted(together) == sorted(reason for text in lines for reason in reasons([text], fields))
    assert "columns" in together
