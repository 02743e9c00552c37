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
REPAIRS_PREFIX = "repairs/"
LATE_FILES_PREFIX = "repair-late/"  # files that have records of a window, and are not where one looks for it
REPAIR_FILES_PREFIX = "repair-files/"  # what could not be read of a repair
MANIFESTS_PREFIX = "manifests/"  # log files that were put elsewhere
DECIDED_PREFIX = "meta/"
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


def repair_key(window_ms: int, files: int, lineage: str) -> str:
    """A window computed from so many files of the archive."""
    return f"{REPAIRS_PREFIX}{window_label(window_ms)}/{sortable(str(files))}/{lineage}"


def repair_files_key(window_ms: int, files: int, lineage: str) -> str:
    return REPAIR_FILES_PREFIX + repair_key(window_ms, files, lineage).removeprefix(REPAIRS_PREFIX)


def parse_repair_key(key: str) -> tuple[int, str, str]:
    """(window_ms, sortable number of files, lineage)."""
    _, label, number, lineage = key.split("/")
    return _window_of(label), number, lineage


def late_file_key(window_ms: int, file_hash: str) -> str:
    return f"{LATE_FILES_PREFIX}{window_label(window_ms)}/{file_hash}"


def parse_late_file_key(key: str) -> int:
    """The window (start in ms)."""
    return _window_of(key.split("/")[1])


def manifest_key(day: str, name: str) -> str:
    """Of log files whose oldest records came on a day, such as `2026-02-16`."""
    return f"{MANIFESTS_PREFIX}{day}/{name}"


def _window_of(label: str) -> int:
    start = datetime.strptime(label, "%Y-%m-%dT%H%M").replace(tzinfo=UTC)
    return int(start.timestamp()) * 1000


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
