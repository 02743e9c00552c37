"""What the field settings accept and refuse, and what `auto` takes the first records for."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_stream.errors import Field_List_Error
from sa_stream.records.fields import (
    CANONICAL,
    DROP_SETTING,
    FIELDS_SETTING,
    FORBIDDEN_FIELDS,
    KNOWN_FIELDS,
    RESULT_FIELDS,
    SEED,
    USED_FIELDS,
    Field_List,
    detect,
    from_mask,
    missing_fields,
    resolve_field_lists,
    to_mask,
)


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


def refusal(setting: str, drop_fields: str = "") -> str:
    with pytest.raises(Field_List_Error) as caught:
        resolve_field_lists(setting, drop_fields)
    return str(caught.value)


def refused_records(lines: list[bytes]) -> str:
    with pytest.raises(Field_List_Error) as caught:
        detect(lines)
    assert FIELDS_SETTING in str(caught.value)
    return str(caught.value)


class Test_settings:
    def test_the_presets_are_the_same_27_fields_in_two_orders(self) -> None:
        assert len(SEED) == len(set(SEED)) == 27
        assert sorted(SEED) == sorted(CANONICAL)
        assert CANONICAL[:5] == ("timestamp", "time-to-first-byte", "sc-status", "sc-bytes", "cs-method")

    def test_every_known_field_is_there_once_and_every_used_one_is_known(self) -> None:
        assert len(KNOWN_FIELDS) == len(set(KNOWN_FIELDS)) == 69
        assert set(USED_FIELDS) | set(SEED) | FORBIDDEN_FIELDS <= set(KNOWN_FIELDS)
        assert sum(name.startswith("cmcd-") for name in FORBIDDEN_FIELDS) == 18

    def test_presets_are_taken_by_name(self) -> None:
        assert resolve_field_lists("seed", "").lists == (Field_List(SEED),)
        assert resolve_field_lists(" canonical ", "").lists == (Field_List(CANONICAL),)
        assert missing_fields(resolve_field_lists("seed", "").offered) == []

    def test_auto_offers_the_fields_of_its_presets_before_it_is_decided(self) -> None:
        lists = resolve_field_lists("auto", "cs-user-agent")
        assert lists.auto
        assert lists.lists == ()
        assert missing_fields(lists.offered) == ["cs-user-agent"]

    def test_auto_becomes_the_preset_that_fits_without_its_dropped_fields(self) -> None:
        decided = resolve_field_lists("auto", "cs-user-agent").decide([line(CANONICAL)])
        assert not decided.auto
        assert decided.by_count[27].names == CANONICAL
        assert decided.by_count[27].index("cs-user-agent") is None
        assert missing_fields(decided.offered) == ["cs-user-agent"]
        assert decided.decide([b"garbage"]) is decided

    def test_several_lists_are_told_apart_by_their_number_of_fields(self) -> None:
        lists = resolve_field_lists("timestamp, sc-status ; timestamp,sc-status,sc-bytes; seed", "")
        assert sorted(lists.by_count) == [2, 3, 27]
        assert lists.by_count[3].index("sc-bytes") == 2
        assert lists.by_count[2].index("sc-bytes") is None

    def test_a_field_that_some_list_has_is_offered(self) -> None:
        lists = resolve_field_lists("timestamp,sc-status;timestamp,sc-bytes,cs-accept", "")
        assert lists.offered == {"timestamp", "sc-status", "sc-bytes"}
        assert "cs-uri-stem" in missing_fields(lists.offered)
        assert missing_fields(lists.offered) == sorted(missing_fields(lists.offered))

    @pytest.mark.parametrize(
        ("lists", "offered", "missing"),
        [
            ("x-edge-response-result-type", {"x-edge-response-result-type"}, False),
            ("x-edge-result-type,x-edge-detailed-result-type", {"x-edge-result-type"}, False),
            ("x-edge-result-type;timestamp,x-edge-detailed-result-type,cs-accept", None, False),
            ("cs-accept", set(), True),
        ],
    )
    def test_of_the_fields_for_the_result_type_each_list_offers_its_first(
        self, lists: str, offered: set[str] | None, missing: bool
    ) -> None:
        found = resolve_field_lists(f"timestamp,{lists}", "").offered
        assert found - {"timestamp"} == (offered or {*(found & {*RESULT_FIELDS})})
        assert [name for name in missing_fields(found) if name in RESULT_FIELDS] == ["x-edge-result-type"] * missing
        assert "sc-content-type" not in missing_fields(found)

    def test_a_forbidden_field_may_be_there_when_it_is_dropped(self) -> None:
        lists = resolve_field_lists("timestamp,c-ip,sc-status", "c-ip")
        assert lists.by_count[3].index("c-ip") is None
        assert lists.by_count[3].index("sc-status") == 2

    def test_an_unknown_field_may_be_there_when_it_is_dropped(self) -> None:
        assert resolve_field_lists("timestamp,x-brand-new", "x-brand-new").by_count[2].count == 2

    @pytest.mark.parametrize("name", sorted(FORBIDDEN_FIELDS))
    def test_each_forbidden_field_is_refused(self, name: str) -> None:
        message = refusal(f"timestamp,{name}")
        assert name in message
        assert FIELDS_SETTING in message
        assert DROP_SETTING in message

    @pytest.mark.parametrize(
        ("setting", "drop", "parts"),
        [
            ("timestamp,sc_status", "", [FIELDS_SETTING, "'sc_status'", "did you mean sc-status?"]),
            ("timestamp,SC-Status", "", [FIELDS_SETTING, "did you mean sc-status?"]),
            ("timestamp,cs(Host)", "", [FIELDS_SETTING, "did you mean cs-host?"]),
            ("seeds", "", [FIELDS_SETTING, "did you mean seed?"]),
            ("timestamp,zzz", "", [FIELDS_SETTING, "'zzz'"]),
            ("timestamp,sc-status,sc-status", "", [FIELDS_SETTING, "sc-status twice"]),
            ("timestamp,sc-status;timestamp,sc-bytes", "", [FIELDS_SETTING, "two lists with 2 fields"]),
            ("seed;canonical", "", [FIELDS_SETTING, "27 fields"]),
            ("sc-status,sc-bytes", "", [FIELDS_SETTING, "without timestamp"]),
            ("", "", [FIELDS_SETTING, "empty field list"]),
            ("seed;", "", [FIELDS_SETTING, "empty field list"]),
            ("timestamp,,sc-bytes", "", [FIELDS_SETTING, "empty name"]),
            ("auto;seed", "", [FIELDS_SETTING, "auto stands alone"]),
            ("seed", "c-ip", [DROP_SETTING, "'c-ip'", "in no field list"]),
            ("auto", "cs_host", [DROP_SETTING, "did you mean cs-host?"]),
            ("seed", "timestamp", [DROP_SETTING, "timestamp"]),
            ("seed", "cs-host,cs-host", [DROP_SETTING, "twice"]),
        ],
    )
    def test_a_setting_that_cannot_work_is_refused_by_name(self, setting: str, drop: str, parts: list[str]) -> None:
        message = refusal(setting, drop)
        for part in parts:
            assert part in message

    @given(st.sets(st.sampled_from(USED_FIELDS)))
    def test_a_mask_gives_back_its_fields(self, names: set[str]) -> None:
        assert from_mask(to_mask(names)) == names

    @given(st.text(alphabet="abcst-,; ", max_size=30), st.text(alphabet="abcst-, ", max_size=12))
    def test_any_setting_gives_lists_or_a_field_list_error(self, setting: str, drop: str) -> None:
        try:
            lists = resolve_field_lists(setting, drop)
        except Field_List_Error:
            return
        assert all(fields.index("timestamp") is not None for fields in lists.lists)


BOTH = pytest.mark.parametrize("names", [SEED, CANONICAL], ids=["seed", "canonical"])


class Test_auto:
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
        message = refused_records([line(swapped, seed) for seed in range(100)])
        assert "27 fields in 100" in message

    def test_the_refusal_names_the_columns_that_do_not_fit(self) -> None:
        swapped = tuple({"sc-status": "sc-bytes", "sc-bytes": "sc-status"}.get(name, name) for name in SEED)
        message = refused_records([line(swapped, seed) for seed in range(9)])
        assert "seed expects sc-status in column 2; canonical expects" in message
        assert "1 epoch seconds, 2 digits, 3 three digits, 4 capitals, 5 " in message

    def test_another_number_of_fields_is_refused_and_said(self) -> None:
        message = refused_records([line(SEED, seed) + b"\tx" for seed in range(5)])
        assert "28 fields in 5" in message
        assert "27 fields" in message

    def test_a_line_that_both_lists_explain_is_refused(self) -> None:
        message = refused_records([b"1771252200.000" + b"\t-" * 26])
        assert "too few values" in message

    @pytest.mark.parametrize("lines", [[], [b""], [b"#Fields: timestamp"]])
    def test_no_record_at_all_is_refused(self, lines: list[bytes]) -> None:
        assert "no record" in refused_records(lines)

    def test_a_refusal_shows_no_value(self) -> None:
        values = record(7, cs_uri_stem="/secret-name", cs_user_agent="agent-name")
        values = {"c-ip": "203.0.113.9", **values}
        message = refused_records(["\t".join(values.values()).encode()] * 3)
        for value in ("203.0.113.9", "secret-name", "agent-name", values["x-edge-request-id"], values["timestamp"]):
            assert value not in message
        assert "1 IP address" in message

    @given(st.lists(st.lists(st.binary(max_size=12), min_size=27, max_size=27).map(b"\t".join), max_size=8))
    def test_garbage_is_refused(self, lines: list[bytes]) -> None:
        refused_records(lines)

    @given(
        st.permutations(
            [line(SEED, seed) for seed in range(6)] + [b"1771252200\tgarbage", line(SEED, 9, sc_status="x")]
        )
    )
    def test_the_order_of_lines_does_not_matter(self, lines: list[bytes]) -> None:
        assert detect(lines).names == SEED
