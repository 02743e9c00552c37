"""`sa-stream adopt-stream`: the stream was deleted and made anew. Declares the old one ended in the state store, so
that the new one can go on in it. What was published stays as it is."""

from collections.abc import Callable

from consumer.worker.stores import open_state
from sa_stream.commits.decisions import Stream_Identity, adopt, claim_application, claim_stream
from sa_stream.commits.keys import (
    CHECKPOINTS_PREFIX,
    DECIDED_PREFIX,
    PROGRESS_PREFIX,
    RETENTIONS_PREFIX,
    SNAPSHOTS_PREFIX,
    START_KEY,
)
from sa_stream.config import SA__Config
from sa_stream.errors import Config_Error
from sa_stream.sources.kinesis_reader import Kinesis_Reader
from sa_stream.storage.state_lock import hold_lock
from sa_stream.storage.state_store import State_Store


def adopt_stream(config: SA__Config, say: Callable[[str], None]) -> bool:
    """False if there is nothing to adopt. Raises Config_Error, Source_Error, In_Use (a local runner is at work),
    Store_Unavailable.

    Progress, snapshots and checkpoints go: a shard of the new stream has the name of an old one and nothing else in
    common. Partials and summaries stay, as entries are made of them. The new stream is written down last, so that a
    worker that starts meanwhile still refuses, and this can be done again.
    """
    config.require_stream()
    info = Kinesis_Reader(config.stream).describe()
    state = open_state(config)
    claim_application(state, config.application, info.name)
    found = Stream_Identity(info.arn, info.created_ms)
    with hold_lock(state):
        if not _is_another(state, found):
            say(f"The state in {state.url} is this stream's already ({found}): there is nothing to adopt.")
            return False
        for prefix in (PROGRESS_PREFIX, SNAPSHOTS_PREFIX, CHECKPOINTS_PREFIX, RETENTIONS_PREFIX):
            state.delete([item.key for item in state.list(prefix)])
        state.delete([item.key for item in state.list(DECIDED_PREFIX) if item.key.startswith(START_KEY)])
        adopt(state, found)
    say(f"The state in {state.url} belongs to {found} now. Windows that began before it was created stay as they are.")
    if config.runner == "kcl":
        name = config.application
        say(
            "Its leases are still the old stream's. While every worker is stopped, delete the DynamoDB tables "
            f"{name}, {name}-WorkerMetricStats and {name}-CoordinatorState, then start the workers."
        )
    return True


def _is_another(state: State_Store, found: Stream_Identity) -> bool:
    try:
        claim_stream(state, found)
    except Config_Error:
        return True
    return False
