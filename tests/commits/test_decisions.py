"""Whose a state store is: its own id, its stream, its kind of runner, on memory, a directory and an emulated bucket."""

from pathlib import Path

import pytest

from sa_stream.commits.decisions import (
    Field_Choice,
    Stream_Identity,
    adopt,
    claim_application,
    claim_runner,
    claim_stream,
    first_position_ms,
    store_id,
)
from sa_stream.commits.keys import APPLICATION_KEY, FIELDS_KEY, ID_KEY, RUNNER_KEY, START_KEY
from sa_stream.errors import Config_Error, Corrupt_State
from sa_stream.records.field_finder import First_Records
from sa_stream.storage.state_store import State_Store

CASES = Path(__file__).parents[1] / "cases"
LOGS = Stream_Identity("arn:aws:kinesis:us-east-1:111122223333:stream/logs", 1_771_252_200_000)
MADE_ANEW = Stream_Identity(LOGS.arn, LOGS.created_ms + 3_600_000)
ELSEWHERE = Stream_Identity("arn:aws:kinesis:us-east-1:444455556666:stream/logs", LOGS.created_ms)


@pytest.fixture(params=["memory", "file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> State_Store:
    if request.param == "s3":
        request.getfixturevalue("aws")
        return State_Store("s3://state-bucket/sa-stream/state")
    return State_Store(f"file://{tmp_path}/state" if request.param == "file" else "memory://")


def test_a_store_has_one_id_for_ever_even_if_a_power_cut_tore_it(store: State_Store) -> None:
    first = store_id(store)
    assert len(first) == 32
    assert store_id(store) == first
    assert store_id(State_Store("memory://")) != first
    store.put(ID_KEY, b"")
    second = store_id(store)
    assert second != first
    assert store_id(store) == second


@pytest.mark.parametrize("torn", [b"", b'{"posit', bytes(40)])
def test_a_first_position_that_a_power_cut_tore_is_resolved_once_more(store: State_Store, torn: bytes) -> None:
    assert first_position_ms(store, "LATEST", 5, 5) == 5
    store.put(START_KEY, torn)
    assert [first_position_ms(store, "LATEST", now_ms, now_ms) for now_ms in (7, 8)] == [7, 7]


def test_a_field_list_that_a_power_cut_tore_is_decided_once_more(store: State_Store) -> None:
    store.put(FIELDS_KEY, b"")
    choice = Field_Choice("auto", "c-country", "", store)
    assert not choice.checked
    choice.decide(First_Records.of([(CASES / "real_26_fields.log").read_bytes()]))
    again = Field_Choice("auto", "c-country", "", store)
    assert (again.checked, again.lists) == (True, choice.lists)


def test_a_torn_stamp_is_refused_in_a_sentence_that_says_what_to_delete(store: State_Store) -> None:
    store.put(APPLICATION_KEY, b"")
    with pytest.raises(Corrupt_State, match=f"power cut.*'sa-stream' with stream 'logs', delete .* {APPLICATION_KEY}"):
        claim_application(store, "sa-stream", "logs")


@pytest.mark.parametrize("other", [MADE_ANEW, ELSEWHERE])
def test_a_stream_made_anew_or_of_another_account_is_refused_with_both_named(
    store: State_Store, other: Stream_Identity
) -> None:
    claim_stream(store, LOGS)
    claim_stream(store, LOGS)
    with pytest.raises(Config_Error) as caught:
        claim_stream(store, other)
    for words in (str(LOGS), str(other), "SGRAPH_SEND__SA_STATE_URL", "SGRAPH_SEND__SA_APPLICATION", "adopt-stream"):
        assert words in str(caught.value)
    claim_stream(store, LOGS)


def test_the_state_of_a_version_without_identities_gets_one_at_the_next_start(store: State_Store) -> None:
    claim_application(store, "sa-stream", "logs")  # all that version 1 wrote
    claim_stream(store, LOGS)
    with pytest.raises(Config_Error):
        claim_stream(store, MADE_ANEW)


def test_an_adopted_stream_takes_the_place_of_the_old_one(store: State_Store) -> None:
    claim_stream(store, LOGS)
    adopt(store, MADE_ANEW)
    claim_stream(store, MADE_ANEW)
    with pytest.raises(Config_Error):
        claim_stream(store, LOGS)


def test_a_torn_identity_is_written_again_by_its_own_stream_and_no_other(store: State_Store) -> None:
    claim_stream(store, LOGS)
    (listed,) = store.list("meta/streams")
    store.put(listed.key, b"")
    with pytest.raises(Config_Error, match="of an unknown ARN, created at 2026-02-16T14:30:00"):
        claim_stream(store, MADE_ANEW)
    claim_stream(store, LOGS)
    with pytest.raises(Config_Error, match=LOGS.arn):
        claim_stream(store, ELSEWHERE)


def test_a_local_runner_and_the_kcl_refuse_each_other_until_told_that_it_is_meant(store: State_Store) -> None:
    claim_runner(store, "local")
    claim_runner(store, "local")
    with pytest.raises(Config_Error, match=f"SA_RUNNER=local; .*SA_RUNNER=kcl.*delete the object {RUNNER_KEY}"):
        claim_runner(store, "kcl")
    store.delete(RUNNER_KEY)
    claim_runner(store, "kcl")
    with pytest.raises(Config_Error, match=r"SA_RUNNER=kcl; .*SA_RUNNER=local"):
        claim_runner(store, "local")
    store.put(RUNNER_KEY, b"")
    claim_runner(store, "local")
