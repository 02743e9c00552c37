"""Publishing where there is a state store: windows are computed from their files and kept there as repairs, as a worker
would, and a reconciler's pass writes what follows. It loads obstore."""

import secrets
from typing import Any

from sa_stream.bounded.repair import repair_steps
from sa_stream.commits.decisions import Field_Choice
from sa_stream.commits.keys import RUNNER_KEY
from sa_stream.commits.operations import drive
from sa_stream.commits.ports import Cache, Store
from sa_stream.commits.secrets import SECRET_BYTES, Secrets
from sa_stream.rollups.entry import FINAL, STREAM, Entry
from sa_stream.rollups.passes import Reconciler_Settings
from sa_stream.rollups.periods import HALF_HOUR, MONTHLY, PERIODS, cache_key, end_of, start_of
from sa_stream.rollups.readable import entry_in
from sa_stream.rollups.reconciler import Reconciler
from sa_stream.rollups.repairs import Repair_Settings, repairs_steps
from sa_stream.schemas.namespaces import NS_SA_AGGREGATE
from sa_stream.services.archive_windows import Archive_Windows
from sa_stream.services.log_archive import Log_Archive
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import NEVER_MS, WINDOW_MS, Now, moment


def publish_by_state(
    state: Store | str, cache: Cache, archive: Log_Archive, period: str, start_ms: int, now_ms: int
) -> Entry | None:
    """Keep what the files of a period gave, write what follows from it, and return what the cache shows then. Where
    workers use this state store it is they who write, within a commit interval.

    state  the store, or its URL: of `memory://` each opening is another one

    Raises Config_Error, Source_Error, Store_Unavailable.
    """
    store = State_Store(state) if isinstance(state, str) else state
    fields = Field_Choice(archive.config.fields, archive.config.drop_fields, archive.config.allow_fields, store)
    if fields.lists.auto and (first := archive.first_records(start_ms)).rows:
        fields.decide(first)  # for good, and for whoever reads into this store
    now = Now(now_ms, moment())
    files = Archive_Windows(archive.config, archive.timing, fields, store, lambda: archive.archive, lambda: now)
    keys = Secrets(store, lambda: secrets.token_bytes(SECRET_BYTES))
    known = drive(repairs_steps(store))
    landed_ms = min(end_of(period, start_ms), now_ms - archive.settle_ms)
    for window_ms in range(start_ms, landed_ms - WINDOW_MS + 1, WINDOW_MS):
        if not _is_the_streams(entry_in(cache, cache_key(HALF_HOUR, window_ms))):
            drive(repair_steps(store, keys, files, window_ms, known.get(window_ms)))
    if store.get(RUNNER_KEY) is None:
        # It looks for no window to repair: these are known.
        repairs = Repair_Settings(after_ms=NEVER_MS, only_from_ms=start_of(MONTHLY, start_ms))
        at_once = dict.fromkeys(PERIODS, 0)
        settings = Reconciler_Settings(archive.config.sampling_percent, refresh_ms=at_once, archive=repairs)
        reconciler = Reconciler(store, cache, lambda: (), archive.timing, settings)
        drive(reconciler.pass_steps(now))
    return cache.retrieve_entry(NS_SA_AGGREGATE, cache_key(period, start_ms))


def _is_the_streams(entry: dict[str, Any] | None) -> bool:
    """Final by the stream: no repair takes its place."""
    return entry is not None and (entry["status"], entry["provenance"]) == (FINAL, STREAM)
