"""What `auto` takes the first records for, which lists are refused, and what a refusal says."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_stream.errors import Field_List_Error
from sa_stream.records.field_finder import LINES, RECORDS, RESULT_FIELDS, First_Records, decide, find
from sa_stream.records.fields import (
    CANONICAL,
    DROP_SETTING,
    FIELDS_SETTING,
    FORBIDDEN_FIELDS,
    SEED,
    SURE_FIELDS,
    USED_FIELDS,
    Field_List,
    Field_Lists,
    resolve_field_lists,
)
from tests.records.field_subsets import subset

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


def places(names: Sequence[str]) -> dict[str, int]:
    """Where what is read stands: every used field, and the result type that counts."""
    result = next((name for name in RESULT_FIELDS if name in names), None)
    read = {name for name in USED_FIELDS if name not in RESULT_FIELDS} | {result}
    return {name: place for place, name in enumerate(names) if name in read}


def verdict_on(seed: int) -> str:
    """`right`, `asked` (right, and asks for DROP_FIELDS), `refused`, or `wrong`, of one choice of fields. It is wrong
    to read a forbidden column under whatever name, too."""
    names, records = subset(seed)
    forbidden = [name for name in names if name in FORBIDDEN_FIELDS]
    drop = forbidden if seed % 3 else []
    finding = find(records, drop)
    if finding.problem and "never read" not in finding.problem:
        return "refused"
    found, there = places(finding.names), places(names)
    if {name: found.get(name) for name in SURE_FIELDS} != {name: there.get(name) for name in SURE_FIELDS}:
        return "wrong"
    if any(there.get(name) != place for name, place in found.items() if name not in finding.unsure):
        return "wrong"
    read = [name for name, found in zip(names, finding.names, strict=True) if found not in finding.unread]
    if not finding.problem and set(read) & set(forbidden):
        return "wrong"
    return "asked" if finding.problem else "right"


class Test_alignment:
    def test_any_choice_of_fields_is_found_or_refused_and_never_taken_for_another(self) -> None:
        verdicts = Counter(verdict_on(seed) for seed in range(200))
        assert verdicts["wrong"] == 0
        assert verdicts["right"] > 30
        assert verdicts["asked"] > 5

    def test_a_real_list_is_found_and_its_country_asked_for_with_both_settings_to_copy(self) -> None:
        sentence = refused(case("real_26_fields"))
        assert "c-country, which tells who a visitor is" in sentence
        assert f"{FIELDS_SETTING}=timestamp,time-to-first-byte,sc-status," in sentence
        assert sentence.endswith(f"{DROP_SETTING}=c-country")
        (fields,) = decided(case("real_26_fields"), drop="c-country").lists
        assert fields.count == 26
        assert fields.index("c-country") is None
        assert fields.names.index("x-edge-response-result-type") == 14
        assert "x-edge-result-type" not in fields.names
        copied = dict(setting.split("=") for setting in find(first(case("real_26_fields"))).settings)
        assert decided(case("real_26_fields"), copied[FIELDS_SETTING], copied[DROP_SETTING]).lists[0].count == 26

    def test_a_drifted_list_of_27_fields_is_found_and_refused_where_it_is_configured_otherwise(self) -> None:
        (fields,) = decided(case("drifted_27_fields"), drop="c-country").lists
        assert fields.names.index("x-edge-response-result-type") == 14
        assert fields.names.index("x-edge-result-type") == 17
        assert "cs-uri-query" in fields.names or "cs-referer" in fields.names
        sentence = refused(case("drifted_27_fields"), "canonical")
        assert "80 of the first 80 records cannot be of that list" in sentence
        assert "x-edge-result-type in column 19" in sentence
        assert f"{DROP_SETTING}=c-country" in sentence

    def test_two_orders_are_refused_by_name_where_one_has_to_be_found(self) -> None:
        sentence = refused(case("two_orders"))
        assert "canonical expects" in sentence
        assert decided(case("two_orders"), "canonical").lists == (Field_List(CANONICAL),)

    def test_a_dropped_field_that_is_not_there_is_named(self) -> None:
        lines = [line(CANONICAL, seed) for seed in range(20)]
        assert f"{DROP_SETTING} names c-country, which can be no column" in refused(lines, drop="c-country")

    def test_a_column_that_may_be_a_forbidden_one_is_not_read(self) -> None:
        (fields,) = decided(case("real_26_fields"), drop="c-country").lists
        assert {"c-country", "cs-referer"} <= fields.dropped

    def test_few_records_of_another_list_are_refused(self) -> None:
        assert "5 of 10 records are too few" in refused(case("real_26_fields")[:5], drop="c-country")

    def test_every_used_field_that_has_two_places_is_named(self) -> None:
        rows = [f"177125220{i}\tHit\t{i}5".encode() for i in range(10)]
        sentence = refused(rows)
        assert "x-edge-result-type (column 2, or none)" in sentence
        assert "x-edge-response-result-type (column 2, or none)" in sentence


class Test_first_records:
    def test_empty_lines_and_comments_are_no_records(self) -> None:
        lines = [*[b"#Version: 1.0"] * 130, *[b""] * 500, *(line(CANONICAL, seed) for seed in range(3))]
        assert len(first(lines).rows) == 3
        assert not first(lines).enough
        assert detect(lines).names == CANONICAL

    def test_two_hundred_records_are_enough_and_so_are_ten_thousand_lines(self) -> None:
        assert len(first([line(SEED, seed) for seed in range(300)]).rows) == RECORDS
        comments = first([b"#"] * (LINES + 5))
        assert comments.enough
        assert comments.lines == LINES

    def test_an_explicit_list_is_refused_if_most_records_contradict_it_in_two_columns(self) -> None:
        odd = [line(CANONICAL, seed, cs_protocol="!", ssl_protocol="?") for seed in range(9)]
        assert "cs-protocol in column 6, ssl-protocol in column 17" in refused(odd, "canonical")
        new = [line(CANONICAL, seed, ssl_protocol="?") for seed in range(9)]
        for lines in (new, odd + new, [b"#", b"garbage"]):
            assert decided(lines, "canonical").lists == (Field_List(CANONICAL),)

    def test_a_line_that_was_cut_to_the_number_of_an_explicit_list_does_not_refuse_it(self) -> None:
        lines = [line(CANONICAL, seed) for seed in range(50)]
        values = lines[0].split(b"\t")
        lines.append(b"\t".join(values[:5] + values[6:]))
        shorter = ",".join(CANONICAL[:-1])
        assert decided(lines, shorter).lists[0].count == 26
        assert "26 fields in 51" in refused([lines[-1]] * 51, shorter)
