"""The secrets of months: made once, and never again after they were destroyed."""

from collections.abc import Callable

import pytest

from sa_stream.commits.keys import SECRETS_PREFIX, destroyed_secret_key, secret_key
from sa_stream.commits.operations import Operation, drive
from sa_stream.commits.secrets import Secrets
from sa_stream.errors import Store_Unavailable
from tests.windows.partition_feed import Dict_Store

MONTH = "2026-02"


def load(store: Dict_Store, before_call: Callable[[int], None] = lambda number: None) -> Secrets:
    """Load a month's secret; `before_call` happens before each call."""
    secrets, number = Secrets(store, lambda: b"a secret"), 0

    def perform(operation: Operation) -> object:
        nonlocal number
        before_call(number)
        number += 1
        return operation()

    drive(secrets.load_steps([MONTH]), perform)
    return secrets


def destroy(store: Dict_Store) -> None:
    """As the clean-up does it."""
    store.create(destroyed_secret_key(MONTH), b"")
    store.delete(store.keys(SECRETS_PREFIX))


@pytest.mark.parametrize("torn", [b"", b"1234", bytes(8)])  # some file systems leave zeros
def test_a_torn_secret_is_passed_over_for_the_next(torn: bytes) -> None:
    store = Dict_Store()
    store.put(secret_key(MONTH), torn)
    assert load(store).seeds[MONTH] == load(store).seeds[MONTH] == int.from_bytes(b"a secret", "big")


def test_a_month_that_is_destroyed_while_its_secret_is_looked_for_gets_none_again() -> None:
    """Whoever stands still before any of his calls must neither make a second secret nor give up."""
    calls = 0
    for place in range(10):
        store = Dict_Store()

        def happens(number: int, place: int = place, store: Dict_Store = store) -> None:
            nonlocal calls
            calls = number
            if number == place:
                destroy(store)

        secrets = load(store, happens)
        if calls >= place:
            assert MONTH in secrets.destroyed or secrets.seeds, place
            assert secrets.seeds or not store.keys(SECRETS_PREFIX), place
        assert bool(secrets.seeds) != (MONTH in secrets.destroyed)


def test_a_secret_that_exists_is_taken_and_a_store_that_forgets_it_is_refused() -> None:
    store = Dict_Store()
    store.put(secret_key(MONTH), b"12345678")
    assert load(store).seeds == {MONTH: int.from_bytes(b"12345678", "big")}

    class Forgetful(Dict_Store):
        def create(self, key: str, data: bytes) -> bool:
            return True

    with pytest.raises(Store_Unavailable, match="does not give back"):
        load(Forgetful())
