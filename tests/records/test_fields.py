"""What the field settings accept and refuse."""

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
    from_mask,
    missing_fields,
    resolve_field_lists,
    to_mask,
)


def refusal(setting: str, drop_fields: str = "") -> str:
    with pytest.raises(Field_List_Error) as caught:
        resolve_field_lists(setting, drop_fields)
    return str(caught.value)


class Test_settings:
    def test_the_presets_are_the_same_27_fields_in_two_orders(self) -> None:
        assert len(SEED) == len(set(SEED)) == 27
        assert sorted(SEED) == sorted(CANONICAL)
        assert CANONICAL[:5] == ("timestamp", "time-to-first-byte", "sc-status", "sc-bytes", "cs-method")

    def test_every_known_field_is_there_once_and_every_used_one_is_known(self) -> None:
        assert len(KNOWN_FIELDS) == len(set(KNOWN_FIELDS)) == 71
        assert set(USED_FIELDS) | set(SEED) | FORBIDDEN_FIELDS <= set(KNOWN_FIELDS)
        assert sum(name.startswith("cmcd-") for name in FORBIDDEN_FIELDS) == 18

    def test_presets_are_taken_by_name(self) -> None:
        assert resolve_field_lists("seed", "").lists == (Field_List(SEED),)
        assert resolve_field_lists(" canonical ", "").lists == (Field_List(CANONICAL),)
        assert missing_fields(resolve_field_lists("seed", "").offered) == []

    def test_auto_offers_every_field_that_is_not_dropped_before_it_is_decided(self) -> None:
        lists = resolve_field_lists("auto", "cs-user-agent,c-country")
        assert lists.auto
        assert lists.lists == ()
        assert missing_fields(lists.offered) == ["cs-user-agent"]

    def test_what_functions_at_the_edge_write_is_forbidden(self) -> None:
        assert {"viewer-request-log-data", "viewer-response-log-data"} <= FORBIDDEN_FIELDS

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


def test_a_country_is_read_only_where_it_is_chosen_and_nothing_else_can_be() -> None:
    setting = "timestamp,cs-uri-stem,c-country"
    with pytest.raises(Field_List_Error, match="choose it with SGRAPH_SEND__SA_ALLOW_FIELDS"):
        resolve_field_lists(setting, "")
    assert "c-country" in resolve_field_lists(setting, "", "c-country").offered
    assert "c-country" not in resolve_field_lists(setting, "c-country").offered
    assert "c-country" not in resolve_field_lists("auto", "").offered
    assert "c-country" in resolve_field_lists("auto", "", "c-country").offered
    with pytest.raises(Field_List_Error, match="c-ip"):
        resolve_field_lists("auto", "", "c-ip")


def test_nobody_misses_countries_that_were_not_chosen() -> None:
    assert "c-country" not in missing_fields(frozenset())
