"""What `replay` says of small inputs with a field list of their own: each stands for a kind that users have met."""

from pathlib import Path

import pytest

from consumer.commands.fields import show_fields
from sa_stream.bounded.replay import replay_logs
from sa_stream.config import SA__Config
from sa_stream.errors import Field_List_Error
from sa_stream.log_file import Log_File, Log_Form, Log_Lines
from sa_stream.records.fields import DROP_SETTING, FIELDS_SETTING, Field_List, preset_name, resolve_field_lists
from sa_stream.records.intake import Intake
from sa_stream.rollups.entry import Entry

pytestmark = pytest.mark.usefixtures("both_ways")

CASES = Path(__file__).parent / "cases"
NOW_MS = 1_771_300_000_000


def replayed(name: str, fields: str = "auto", drop: str = "") -> tuple[list[Entry], Entry, list[Field_List]]:
    """Entries, summary, and the field lists that were told."""
    told: list[Field_List] = []
    lists = resolve_field_lists(fields, drop)
    pieces = [Log_Lines(Log_File(name, Log_Form.TEXT), (CASES / f"{name}.log").read_bytes())]
    entries, summary = replay_logs(pieces, Intake(lists), NOW_MS, on_fields=told.append)
    return list(entries), summary, told


def test_empty_lines_before_the_first_record_say_nothing_of_the_list() -> None:
    _, summary, told = replayed("blank_then_seed_order")
    assert [preset_name(fields) for fields in told] == ["seed"]
    assert (summary["records"], summary["aggregated"], summary["duplicates"]) == (50, 50, 0)


def test_what_is_dropped_is_not_parsed_however_many_empty_lines_come_first() -> None:
    entries, _, _ = replayed("blank_then_dropped", drop="cs-host,cs-user-agent")
    assert entries
    for entry in entries:
        assert entry["hosts"] is entry["unique_agents"] is None
        assert entry["missing_fields"] == ["cs-host", "cs-user-agent"]
    assert "secret-host" in (CASES / "blank_then_dropped.log").read_text()
    assert "secret-host" not in repr(entries)


def test_an_order_that_changes_in_the_middle_makes_the_rest_malformed() -> None:
    _, summary, _ = replayed("two_orders", fields="canonical")
    assert (summary["aggregated"], summary["duplicates"], summary["invalid"]) == (60, 0, {"columns": 60})
    assert set(summary["misfits"]) >= {"x-edge-location", "ssl-protocol"}
    with pytest.raises(Field_List_Error, match="canonical expects"):
        replayed("two_orders")


def test_a_list_that_drifted_is_found_or_refused_with_the_columns_that_do_not_fit() -> None:
    with pytest.raises(Field_List_Error, match=r"ssl-protocol in column 17, ssl-cipher in column 18"):
        replayed("drifted_27_fields", fields="canonical")
    with pytest.raises(Field_List_Error, match=f"{DROP_SETTING}=c-country"):
        replayed("drifted_27_fields")
    entries, summary, _ = replayed("drifted_27_fields", drop="c-country")
    assert (summary["aggregated"], summary["invalid"]) == (80, {})
    assert entries[0]["cache_hit_rate"] > 0


def test_a_real_list_is_found_and_its_country_is_never_read() -> None:
    with pytest.raises(Field_List_Error, match=f"{FIELDS_SETTING}=timestamp,.* and {DROP_SETTING}=c-country"):
        replayed("real_26_fields")
    _, summary, told = replayed("real_26_fields", drop="c-country")
    assert (summary["records"], summary["aggregated"]) == (60, 60)
    assert told[0].count == 26
    assert told[0].index("c-country") is None


def test_the_fields_command_shows_columns_and_settings_but_nothing_personal(capsys: pytest.CaptureFixture[str]) -> None:
    file = str(CASES / "real_26_fields.log")
    assert not show_fields(file, SA__Config())
    shown = capsys.readouterr()
    assert f"{DROP_SETTING}=c-country" in shown.out
    assert "x-edge-response-result-type" in shown.out
    assert "TLSv1.3" in shown.out
    assert "which tells who a visitor is" in shown.err
    for value in ("Mozilla", "GB", "IQ4n1pTC9crIG"):
        assert value not in shown.out
    assert show_fields(file, SA__Config.from_env({DROP_SETTING: "c-country"}))
    assert capsys.readouterr().err == ""


def test_the_fields_command_says_what_contradicts_where_no_list_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert not show_fields(str(CASES / "two_orders.log"), SA__Config())
    shown = capsys.readouterr()
    assert "No choice of CloudFront's fields" in shown.err
    assert FIELDS_SETTING not in shown.out
