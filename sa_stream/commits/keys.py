"""Where everything is in the state store. A key names one content, for ever: a function of the partition's records up
to the number in it. Numbers carry their length in front, so that keys sort as the numbers do, whatever their size.
"""

from datetime import UTC, datetime
from functools import lru_cache

from sa_stream.partitions import Partial_Name, sortable

PARTIALS_PREFIX = "partials/"
SNAPSHOTS_PREFIX = "snapshots/"
PROGRESS_PREFIX = "progress/"
CHECKPOINTS_PREFIX = "checkpoints/"
SUMMARIES_PREFIX = "summaries/"
SECRETS_PREFIX = "secrets/"
DESTROYED_SECRETS_PREFIX = "secrets-destroyed/"
EDITIONS_PREFIX = "editions/"
CLOSED_EDITIONS_PREFIX = "editions-closed/"
RETENTIONS_PREFIX = "meta/retention/"
APPLICATION_KEY = "meta/application"
ID_KEY = "meta/id"
RUNNER_KEY = "meta/runner"
STREAMS_PREFIX = "meta/streams"
START_KEY = "meta/start"
FIELDS_KEY = "meta/fields"  # what `auto` decided
SNAPSHOT_INSIDE = ".snapshot"  # how the key of a progress record ends that has its snapshot in it


@lru_cache(maxsize=4_096)
def window_label(window_ms: int) -> str:
    return datetime.fromtimestamp(window_ms // 1000, UTC).strftime("%Y-%m-%dT%H%M")


def partials_prefix(window_ms: int, partition: str, lineage: str) -> str:
    return f"{PARTIALS_PREFIX}{window_label(window_ms)}/{partition}/{lineage}/"


def partial_key(window_ms: int, partition: str, name: Partial_Name) -> str:
    return f"{partials_prefix(window_ms, partition, name.lineage)}{sortable(name.number)}"


def snapshots_prefix(partition: str) -> str:
    return f"{SNAPSHOTS_PREFIX}{partition}/"


def snapshot_key(partition: str, number: str, lineage: str) -> str:
    return f"{snapshots_prefix(partition)}{sortable(number)}/{lineage}"


def parse_snapshot_key(key: str) -> tuple[str, str, str]:
    """(partition, sortable number, lineage)."""
    _, partition, number, lineage = key.split("/")
    return partition, number, lineage


def progress_prefix(partition: str) -> str:
    return f"{PROGRESS_PREFIX}{partition}/"


def progress_key(partition: str, number: str, watermark_ms: int, lineage: str, with_snapshot: bool = False) -> str:
    """A watermark that has seen nothing yet is written as 0: the exact one is in the record. With a snapshot in it, a
    record is another content, and so another key."""
    key = f"{progress_prefix(partition)}{sortable(number)}/{max(0, watermark_ms):015d}/{lineage}"
    return key + SNAPSHOT_INSIDE if with_snapshot else key


def parse_progress_key(key: str) -> tuple[str, str, int, str]:
    """(partition, sortable number, watermark_ms, lineage)."""
    _, partition, number, watermark, lineage = without_snapshot(key).split("/")
    return partition, number, int(watermark), lineage


def has_snapshot(key: str) -> bool:
    """Whether it is the key of a progress record that has its snapshot in it."""
    return key.endswith(SNAPSHOT_INSIDE)


def without_snapshot(key: str) -> str:
    """The key under which an idle commit says what this progress record says."""
    return key.removesuffix(SNAPSHOT_INSIDE)


def checkpoint_key(partition: str) -> str:
    return f"{CHECKPOINTS_PREFIX}{partition}"


def summary_key(cache_key: str, content_hash: str) -> str:
    return f"{SUMMARIES_PREFIX}{cache_key}/{content_hash}"


def edition_key(cache_key: str, revision: int) -> str:
    return f"{EDITIONS_PREFIX}{cache_key}/{revision:06d}"


def closed_editions_key(period: str, whole: str) -> str:
    """`whole`: the time key of the day or month whose entries of this period are closed."""
    return f"{CLOSED_EDITIONS_PREFIX}{period}/{whole}"


def secret_key(month: str, attempt: int = 0) -> str:
    """`attempt`: how many secrets of this month were found torn before this one."""
    return f"{SECRETS_PREFIX}{month}" + (f".{attempt}" if attempt else "")


def destroyed_secret_key(month: str) -> str:
    return f"{DESTROYED_SECRETS_PREFIX}{month}"


def retention_key(at_ms: int, retention_ms: int) -> str:
    return f"{RETENTIONS_PREFIX}{at_ms:015d}-{retention_ms}"
