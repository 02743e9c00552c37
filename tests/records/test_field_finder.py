"""What `auto` takes the first records for, which lists are refused, and what a refusal says."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_stream.errors import Field_List_Error
from sa_stream.records.field_finder import LINES, RECORDS, First_Records, decide
from sa_stream.records.fields import (
    CANONICAL,
    DROP_SETTING,
    FIELDS_SETTING,
    SEED,
    Field_List,
    Field_Lists,
    resolve_field_lists,
)

CASES = Path(__file__).parents[1] / "cases"


def record(seed: int = 0, **changed: str) -> dict[str, str]:
    """One plausible record by field name; `changed` has underscores for dashes."""
    rng = random.Random(seed)
    values = {
        "timestamp": f"17712{rng.randrange(10**5):05d}.{rng.randrange(1000):03d}",
        "sc-status": rng.choice(["200", "200", "304", "404", "000"]),
        "sc-bytes": str(rng.randrange(1000, 10**6)),
        "cs-method": rng.choice(["GET", "POST", "HEAD"]),
        "cs-uri-stem": rng.choice(["/", "/a/b.html?x=1", "https://www.example.com/a?b=c"]),
        "cs-uri-query": rng.choice(["-", "x=1"]),
        "cs-protocol": rng.choice(["https", "http", "wss"]),
        "cs-protocol-version": rng.choice(["HTTP/2.0", "HTTP/1.1", "HTTP/3.0"]),
        "sc-content-type": rng.choice(["text/html;%20charset=utf-8", "-"]),
        "sc-content-len": rng.choice(["-", "5120"]),
        "cs-user-agent": rng.choice(["Mozilla/5.0%20(X11)", "curl/8.5.0", "-"]),
        "cs-referer": rng.choice(["-", "https://www.example.com/"]),
        "x-edge-location": rng.choice(["LHR50-C1", "FRA56-P10", "IAD89-P2"]),
        "x-edge-result-type": rng.choice(["Hit", "Miss", "OriginShieldHit", "FunctionThrottledError"]),
        "x-edge-response-result-type": rng.choice(["Hit", "Miss"]),
        "x-edge-request-id": "".join(rng.choices("abcdefXYZ0123456789_-", k=54)) + "==",
        "time-taken": f"0.{rng.randrange(1000):03d}",
        "time-to-first-byte": f"0.{rng.randrange(1000):03d}",
        "sc-range-start": "-",
        "sc-range-end": "-",
        "ssl-protocol": "TLSv1.3",
        "ssl-cipher": "TLS_AES_128_GCM_SHA256",
        "cs-accept": "*/*",
        "cs-accept-encoding": "gzip,%20br",
        "cs-host": "www.example.com",
        "origin-fbl": rng.choice(["-", "0.123"]),
        "origin-lbl": rng.choice(["-", "0.150"]),
    }
    return values | {name.replace("_", "-"): value for name, value in changed.items()}


def line(names: tuple[str, ...], seed: int = 0, **changed: str) -> bytes:
    values = record(seed, **changed)
    return "\t".join(values[name] for name in names).encode()


def first(lines: list[bytes]) -> First_Records:
    return First_Records.of(b"%s\n" % text for text in lines)


def decided(lines: list[bytes], setting: str = "auto", drop: str = "") -> Field_Lists:
    return decide(resolve_field_lists(setting, drop), first(lines))


def detect(lines: list[bytes]) -> Field_List:
    (fields,) = decided(lines).lists
    return fields


def refused(lines: list[bytes], setting: str = "auto", drop: str = "") -> str:
    with pytest.raises(Field_List_Error) as caught:
        decided(lines, setting, drop)
    assert FIELDS_SETTING in str(caught.value)
    return str(caught.value)


def case(name: str) -> list[bytes]:
    return (CASES / f"{name}.log").read_bytes().split(b"\n")


BOTH = pytest.mark.parametrize("names", [SEED, CANONICAL], ids=["seed", "canonical"])


class Test_presets:
    @BOTH
    @pytest.mark.parametrize("seed", range(20))
    def test_a_single_plausible_line_decides(self, names: tuple[str, ...], seed: int) -> None:
        assert detect([line(names, seed)]).names == names

    @BOTH
    def test_many_lines_decide_whatever_their_endings(self, names: tuple[str, ...]) -> None:
        lines = [b"", b"#Version: 1.0", b"\r\n", *(line(names, seed) + b"\r\n" for seed in range(300))]
        assert detect(lines).names == names

    @BOTH
    def test_a_few_dirty_first_lines_do_not_decide(self, names: tuple[str, ...]) -> None:
        dirty = [
            b"garbage",
            b"\t" * 26,
            line(names, 1, timestamp="yesterday"),
            line(names, 2, timestamp="-"),
            line(names, 3, sc_status="abc"),
            line(names, 4)[:60],
            line(names, 5) + b"\tmore",
            line(SEED if names is CANONICAL else CANONICAL, 6),
            b"\xff\xfe\x00" * 50,
        ]
        assert detect([*dirty, *(line(names, seed) for seed in range(10, 20))]).names == names

    @BOTH
    def test_odd_numbers_and_missing_values_are_no_sign_of_another_order(self, names: tuple[str, ...]) -> None:
        odd = {"time_taken": "1e3", "time_to_first_byte": "nan", "sc_bytes": "+5", "origin_fbl": "", "sc_status": "-"}
        assert detect([line(names, 1, **odd)]).names == names

    @given(st.sampled_from([SEED, CANONICAL]), st.sets(st.sampled_from(SEED[1:]), max_size=20), st.integers(0, 99))
    def test_missing_values_never_lead_to_the_wrong_list(
        self, names: tuple[str, ...], gone: set[str], seed: int
    ) -> None:
        values = record(seed) | dict.fromkeys(gone, "-")
        try:
            found = detect(["\t".join(values[name] for name in names).encode()])
        except Field_List_Error:
            return
        assert found.names == names

    @BOTH
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("sc-status", "sc-bytes"),
            ("cs-method", "cs-uri-stem"),
            ("cs-protocol", "cs-protocol-version"),
            ("x-edge-location", "x-edge-result-type"),
            ("x-edge-request-id", "time-taken"),
            ("cs-user-agent", "cs-referer"),
            ("timestamp", "time-taken"),
            ("cs-host", "time-to-first-byte"),
            ("cs-host", "cs-uri-stem"),
            ("cs-uri-query", "sc-bytes"),
        ],
    )
    def test_another_order_is_refused(self, names: tuple[str, ...], one: str, other: str) -> None:
        swapped = tuple({one: other, other: one}.get(name, name) for name in names)
        message = refused([line(swapped, seed) for seed in range(100)])
        assert "27 fields in 100" in message

    def test_the_refusal_names_the_columns_that_do_not_fit(self) -> None:
        swapped = tuple({"sc-status": "sc-bytes", "sc-bytes": "sc-status"}.get(name, name) for name in SEED)
        message = refused([line(swapped, seed) for seed in range(9)])
        assert "seed expects sc-status in column 2; canonical expects" in message
        assert "1 epoch seconds, 2 digits, 3 three digits, 4 capitals, 5 " in message

    def test_another_number_of_fields_is_refused_and_said(self) -> None:
        message = refused([line(SEED, seed) + b"\tx" for seed in range(5)])
        assert "28 fields in 5" in message
        assert "27 fields" in message

    def test_a_line_that_both_lists_explain_is_refused(self) -> None:
        message = refused([b"1771252200.000" + b"\t-" * 26])
        assert "too few values" in message

    @pytest.mark.parametrize("lines", [[], [b""], [b"#Fields: timestamp"]])
    def test_no_record_at_all_is_refused(self, lines: list[bytes]) -> None:
        assert "no record" in refused(lines)

    def test_a_refusal_shows_no_value(self) -> None:
        values = record(7, cs_uri_stem="/secret-name", cs_user_agent="agent-name")
        values = {"c-ip": "203.0.113.9", **values}
        message = refused(["\t".join(values.values()).encode()] * 3)
        for value in ("203.0.113.9", "secret-name", "agent-name", values["x-edge-request-id"], values["timestamp"]):
            assert value not in message
        assert "1 IP address" in message

    @given(st.lists(st.lists(st.binary(max_size=12), min_size=27, max_size=27).map(b"\t".join), max_size=8))
    def test_garbage_is_refused(self, lines: list[bytes]) -> None:
        refused(lines)

    @given(
        st.permutations(
            [line(SEED, seed) for seed in range(6)] + [b"1771252200\tgarbage", line(SEED, 9, sc_status="x")]
        )
    )
    def test_the_order_of_lines_does_not_matter(self, lines: list[bytes]) -> None:
        assert detect(lines).names == SEED
