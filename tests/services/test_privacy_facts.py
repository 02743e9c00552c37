"""What the dashboard's page on privacy says: of the settings, and of the months whose secrets exist."""

import pytest

from sa_stream.commits.keys import secret_key
from sa_stream.config import PREFIX, SA__Config
from sa_stream.errors import Store_Unavailable
from sa_stream.services.privacy_facts import REMEMBERED_MS, Privacy_Facts
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import Moment


def facts(state: State_Store | None, at: list[int], **settings: str) -> Privacy_Facts:
    given = {f"{PREFIX}{name}": value for name, value in {"STREAM": "s", **settings}.items()}
    return Privacy_Facts(SA__Config.from_env(given), state, lambda: Moment(at[0]))


def test_it_names_what_is_never_read_and_what_the_settings_drop() -> None:
    shown = facts(None, [0], DROP_FIELDS="c-ip, c-country", DEAD_LETTER_DAYS="7").shown()
    assert {"c-ip", "x-forwarded-for", "cs-cookie"} <= set(shown["never_read"])
    assert shown["dropped_fields"] == ["c-ip", "c-country"]
    assert shown["retention"]["dead letters"] == "7 days"
    assert shown["dead_letter_text"] is False


def test_secrets_are_named_by_their_months_and_never_shown() -> None:
    state, at = State_Store("memory://"), [0]
    state.create(secret_key("2026-02"), b"12345678")
    state.create(secret_key("2026-01", 1), b"abcdefgh")
    known = facts(state, at)
    assert known.shown()["secret_months"] == ["2026-01", "2026-02"]
    assert "12345678" not in str(known.shown())
    state.create(secret_key("2026-03"), b"12345678")
    assert known.shown()["secret_months"] == ["2026-01", "2026-02"], "it is not listed with every poll"
    at[0] += REMEMBERED_MS
    assert known.shown()["secret_months"] == ["2026-01", "2026-02", "2026-03"]


def test_without_a_state_store_or_while_it_fails_the_months_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert facts(None, [0]).shown()["secret_months"] is None
    state = State_Store("memory://")

    def fails(prefix: str) -> None:
        raise Store_Unavailable("it does not answer")

    monkeypatch.setattr(state, "list", fails)
    assert facts(state, [0]).shown()["secret_months"] is None


def test_what_is_allowed_is_not_among_what_is_never_read() -> None:
    assert "c-country" in facts(None, [0]).shown()["never_read"]
    assert "c-country" not in facts(None, [0], ALLOW_FIELDS="c-country").shown()["never_read"]


def test_it_says_what_is_pruned() -> None:
    said = facts(None, [0], RETAIN_30MIN_DAYS="30", RETAIN_HOURLY_DAYS="0", RETAIN_DAILY_DAYS="365").shown()
    assert "(half hours after 30 days, days after 365 days)" in said["retention"]["entries"]
