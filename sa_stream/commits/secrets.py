"""The secrets that hashes are made with, one a month."""

from collections.abc import Callable, Sequence

from sa_stream.commits.keys import DESTROYED_SECRETS_PREFIX, destroyed_secret_key, secret_key
from sa_stream.commits.operations import Steps, call
from sa_stream.commits.ports import Listed, Store
from sa_stream.errors import Store_Unavailable
from sa_stream.log import SECRET_TORN, Log
from sa_stream.records.hashing import hash_of

log = Log("secrets")

TRIES_MAX = 3  # to read back what was made, while others destroy it
SECRET_BYTES = 8
_TORN = bytes(SECRET_BYTES)  # the right size and nothing in it, as some file systems leave it after a power cut


def is_secret(data: bytes) -> bool:
    """Whether what is kept as a month's secret is whole."""
    return len(data) == SECRET_BYTES and data != _TORN


def destroyed_months_steps(store: Store) -> Steps[set[str]]:
    """Months whose secret is gone for good."""
    listed: Sequence[Listed] = yield call(store.list, DESTROYED_SECRETS_PREFIX)
    return {item.key.removeprefix(DESTROYED_SECRETS_PREFIX) for item in listed}


class Secrets:
    """The secret of each month, from which hashes of request ids and agents are made. Made once per month with a
    create-only put, so that all workers use the same.

    seeds      month -> the secret as a number
    destroyed  months whose secret is gone for good: they take no more records
    """

    def __init__(self, store: Store, make: Callable[[], bytes]) -> None:
        self._store = store
        self._make = make
        self.seeds: dict[str, int] = {}
        self.destroyed: set[str] = set()

    def load_steps(self, months: Sequence[str]) -> Steps[None]:
        """Raises Store_Unavailable. A secret that is torn (a store without fsync) is passed over by everybody alike,
        for the next one that is whole."""
        for month in months:
            attempt = tries = 0
            while month not in self.seeds and month not in self.destroyed:
                key = secret_key(month, attempt)
                data = yield call(self._store.get, key)
                if data is None:
                    yield from self._make_steps(month, key)
                    tries += 1
                    if tries > TRIES_MAX:
                        raise Store_Unavailable(f"The state store does not give back {key}, which was just created")
                elif is_secret(data):
                    self.seeds[month] = int.from_bytes(data, "big")
                else:
                    message = f"{key} is torn: it has {len(data)} bytes, or zeros alone. The next one is used"
                    log.tell(SECRET_TORN, message, key=key)
                    attempt += 1

    def _make_steps(self, month: str, key: str) -> Steps[None]:
        """Make a secret where there is none; it is read back then, as somebody else's may have been first. Not for a
        month whose secret was destroyed, which may also happen while we stand still here."""
        destroyed = destroyed_secret_key(month)
        if (yield call(self._store.get, destroyed)) is None:
            yield call(self._store.create, key, self._make())
            if (yield call(self._store.get, destroyed)) is None:
                return
            yield call(self._store.delete, [key])
        self.destroyed.add(month)

    def tag(self, month: str) -> int:
        """A few bits that tell a secret from another, and nothing of it."""
        return hash_of("tag", self.seeds[month]) & 0xFFFF
