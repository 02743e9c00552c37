"""Structured logs: `Log("engine").tell(WAITING, "…", partition=…)` comes in, and goes to the standard library's logging
with an event, a sentence and fields. Which events there are stands here, each with what it means; docs/operations.md
has them as a table. Standard library only.
"""

import logging
from typing import Any, NamedTuple

ROOT = "sa-stream"
DEBUG, INFO, WARNING, ERROR, CRITICAL = "debug", "info", "warning", "error", "critical"


class Event(NamedTuple):
    """One kind of thing that happens.

    level    of its lines
    alarm    whether a person should be called
    meaning  for whoever reads it in a log
    """

    name: str
    level: str
    alarm: str
    meaning: str


class Log:
    """Logger of one part."""

    def __init__(self, part: str) -> None:
        self._logger = logging.getLogger(f"{ROOT}.{part}")

    def tell(self, event: Event, message: str, error: BaseException | None = None, **fields: Any) -> None:
        """`message` is a sentence, `error` adds its traceback, `fields` are strings, numbers and lists."""
        level = logging.getLevelNamesMapping()[event.level.upper()]
        self._logger.log(level, "%s", message, exc_info=error, extra={"event": event.name, "fields": fields})


# ---- whether it is well

NOT_READY = Event(
    *("not_ready", WARNING, "yes, for 5 minutes"),
    "this worker is not ready: when it turns, then every minute, with all reasons. A start may take 10 s without one",
)
READY = Event("ready", INFO, "no", "it is again")
FATAL = Event(
    *("fatal", CRITICAL, "yes"),
    "why the program ends: a setting that cannot work (`exit_code` 2), a stream that is not there, a permission, a "
    "state of a newer format, a state store that another holds (1); `kind` is the error's class. With a traceback it "
    "is a mistake of the program",
)

# ---- what is in no number

LOSS = Event(
    *("loss", ERROR, "yes"),
    "something of a shard was lost, or may be: `kind` says what (`retention`, `snapshot`, `partial`, `secret`, "
    "`month`, `set-aside`), `since` from when on the shard vouches again. See [Something was "
    "lost](#something-was-lost)",
)
DEAD_LETTERS = Event("dead_letters", INFO, "yes", "a commit left `count` records of a shard in the dead letters")
SHARD_GONE = Event(
    *("shard_gone", ERROR, "yes"),
    "a closed shard was trimmed before it was read to its end: what came after `read_to` is in no number. "
    "[Shards that are gone](#shards-that-are-gone)",
)
MALFORMED = Event("malformed", ERROR, "yes", "most records of a shard are malformed")
DUPLICATES = Event(
    *("duplicates", WARNING, "yes"),
    "more than half of the last thousand records of a shard are duplicates: a shifted or constant request id looks so, "
    "and a producer that sends everything again",
)
PARTITION_FAILED = Event(
    *("partition_failed", ERROR, "yes"),
    "the engine could not go on with a shard; with a traceback if it is a mistake of the program. What a poisoned "
    "batch looks like at first",
)
SECRET_TORN = Event(
    *("secret_torn", ERROR, "no (`loss` follows if it matters)"),
    "a month's secret in the state store is none (a power cut): the next one of that month is used",
)
CHECKPOINT_TORN = Event(
    *("checkpoint_torn", ERROR, "no"),
    "local runner: a checkpoint object is neither a number nor `END` (a power cut); the partition goes on from its "
    "last snapshot",
)
STREAM_REPLACED = Event(
    *("stream_replaced", ERROR, "yes"),
    "the stream was made anew under its name; the worker ends with exit code 2: "
    "[The stream is another one](#the-stream-is-another-one)",
)
RETENTION_CHANGED = Event(
    *("retention_changed", WARNING, "yes, unless you did it"),
    "the stream keeps its records for longer or shorter than before: what a shorter time took before it was read "
    "counts as lost, and its windows stay `partial`",
)

# ---- a worker's life

STARTED = Event(
    *("started", INFO, "no"),
    "the daemon begins: its stream, where its health is, how many files it may open (`open_files`, the hard limit of "
    "its container), and so how many shards it can read (`shards_max`)",
)
WORKER = Event("worker", INFO, "no", "the name under which the KCL has this worker in its lease table")
FIELDS = Event("fields", INFO, "no", "`auto` has found the field list by the first records")
POSITION_CLAMPED = Event(
    *("position_clamped", WARNING, "no"),
    "`INITIAL_POSITION` is a time that is still to come by Kinesis's clock: reading begins now",
)
SOURCE_WAITS = Event("source_waits", WARNING, "no (`not_ready` follows)", "the stream does not answer at the start")
DISCOVERY_WAITS = Event(
    *("discovery_waits", WARNING, "no (`not_ready` follows)"),
    "shards cannot be listed, or their first records not be read, for now",
)
STOPPING = Event("stopping", INFO, "no", "a signal asked it to stop")
COMMITTED = Event("committed", INFO, "no", "everything that was read is committed")
STOPPED = Event("stopped", INFO, "no", "the end of an orderly stop")
UNFINISHED = Event(
    *("unfinished", WARNING, "yes"),
    "a stop came to its deadline without the last commit of the shards that it names: they are read again",
)
RESTARTED = Event(
    *("restarted", ERROR, "yes"),
    "from the guard: the daemon gave no sign of life for `HANG_TIMEOUT_S`, or was killed by a signal. SIGKILL by "
    "nobody is the kernel's, for memory",
)
THREAD_FAILED = Event("thread_failed", ERROR, "yes", "a thread of the program has ended by an error; with a traceback")
CLOCK_STEPPED = Event(
    *("clock_stepped", WARNING, "more than one a day"),
    "the clock of this machine was set by more than 5 s (`step_ms`): [The clock was stepped](#the-clock-was-stepped)",
)
LOG_DROPPED = Event(
    *("log_dropped", WARNING, "often: yes"),
    "nobody read the log for a while, and it flows again: so many lines (`dropped`) are missing before this one. The "
    "program does not wait for a reader of its log; `/health` counts them in `log_lines_dropped`",
)

METRICS_FAILED = Event(
    *("metrics_failed", ERROR, "yes"),
    "a part of `/metrics` could not be told (`part`), and its series are missing; with a traceback",
)

# ---- memory

MEMORY = Event("memory", WARNING, "often: yes", "reading pauses for want of memory, or goes on")
SHRUNK = Event("shrunk", WARNING, "often: yes", "a large window leaves memory, or keeps only its top paths")
MEMORY_SMALL = Event(
    *("memory_small", WARNING, "yes"),
    "at the start: what the limit is, and what so many shards need if this worker reads all of them at full load. "
    "[Memory](#memory)",
)

# ---- shards

SHARD_OPENED = Event("shard_opened", INFO, "no", "a shard comes to this worker, and where it goes on")
FIRST_RECORDS = Event("first_records", INFO, "no", "how many of a shard's first records came once more")
SHARD_CLOSED = Event("shard_closed", INFO, "no", "a shard was committed and given up, or read to its end")
SHARD_ENDED = Event("shard_ended", INFO, "no", "local runner: a closed shard was read to its end")
LEASE_LOST = Event("lease_lost", INFO, "no", "a shard goes to another worker")
SHARD_LOST = Event(
    *("shard_lost", WARNING, "no; often: look"),
    "another worker has the shard (stolen lease, a standstill); our last records are read again by it",
)
SHARD_RESTARTS = Event("shard_restarts", WARNING, "often: look", "a shard starts again from its last commit")
SHARD_REOPENED = Event(
    "shard_reopened", WARNING, "often: look", "the KCL opened a shard that was open here: it goes on"
)
WAITING = Event(
    *("waiting", WARNING, "no (`not_ready` follows)"),
    "a shard's call to a store failed for the first time; it is made again",
)
SHARD_UNREADABLE = Event(
    *("shard_unreadable", WARNING, "no (`not_ready` follows)"),
    "local runner: Kinesis has throttled or failed the reads of one shard for more than 5 s",
)
SHARD_READABLE = Event("shard_readable", INFO, "no", "local runner: Kinesis answers for that shard again")

# ---- the KCL

KCL_STARTED = Event("kcl_started", INFO, "no", "the KCL's process is starting")
KCL_STOPPED = Event("kcl_stopped", INFO, "no", "the KCL's process has ended as it was asked to")
KCL_ENDED = Event(
    *("kcl_ended", ERROR, "more than a few an hour"),
    "the KCL's process has ended without being asked, or could not be started",
)
KCL_RESTARTS = Event(
    *("kcl_restarts", ERROR, "more than a few an hour"),
    "we end it: a shard said nothing for 180 s, a connection has ended, or one of its tables is gone",
)
LOCK_RELEASED = Event(
    *("lock_released", INFO, "no"),
    "the KCL's leader was this worker, which died: its lock of two minutes is released before the KCL is started",
)
LEASES_WAIT = Event(
    *("leases_wait", WARNING, "no (`not_ready` follows)"),
    "DynamoDB does not answer, so the KCL is not started yet",
)
PROTOCOL = Event("protocol", ERROR, "yes", "the KCL said what cannot be; it names the shard")
CUT_OFF = Event("cut_off", WARNING, "no", "the KCL ended in the middle of a message")
DRAINED = Event("drained", WARNING, "often: look", "the KCL goes on sending a shard that was given up: cut off")
STRANGER = Event("stranger", WARNING, "yes", "a process of another user tried to hand over pipes, and was refused")
HANDOVER_FAILED = Event("handover_failed", WARNING, "often: look", "a child of the KCL's handed over no pipes")
KCL_JAVA = Event("kcl.java", DEBUG, "no", "what the JVM says of its options")
KCL_OUTPUT = Event("kcl.output", WARNING, "no", "what the JVM prints by itself")

# ---- the steps on demand, in a host

PIPELINE = Event("pipeline", INFO, "no", "the pipeline of a host is set up: which bucket it reads, in which region")
PIPELINE_OFF = Event(
    *("pipeline_off", WARNING, "no"),
    "a host has no pipeline: which variable is missing, or which one cannot work",
)
FILE_LEFT = Event(
    *("file_left", ERROR, "yes"),
    "a file of the archive could not be read, or not to its end: its records are not in what `collect` returned",
)

# ---- the API

JOB_FAILED = Event(
    *("job_failed", ERROR, "yes"),
    "a step that was started over HTTP could not go on; a job may be started again: job",
)
ANSWER_FAILED = Event(
    *("answer_failed", ERROR, "yes"),
    "a request could not be answered by a mistake of the program: route; with a traceback",
)
ANSWER_WAITS = Event(
    *("answer_waits", WARNING, "often: look"),
    "a request was answered by 503, as the cache service or the archive did not answer in time, or what it has is no "
    "entry: route",
)

# ---- publishing

ENTRY = Event("entry", INFO, "no", "an entry was written: key, status, revision, requests")
ENTRY_RESTORED = Event(
    *("entry_restored", WARNING, "often: look"),
    "the cache showed an entry that is older than its last final version, which is written again: the cache was set "
    "back, or a writer stood still for long",
)
REPAIRED = Event(
    *("repaired", INFO, "no"),
    "a window was computed from the archive, of so many `files`; `whole` is false if others could not be read. "
    "[Repairs](#repairs)",
)
REPAIR_WAITS = Event(
    *("repair_waits", WARNING, "yes, for 2 hours"),
    "the archive does not answer, or refuses, so a window (`window`), or all of them, cannot be computed now: it is "
    "tried again after 45 s, two hours after its end after 15 minutes",
)
REPAIR_IMPOSSIBLE = Event(
    *("repair_impossible", ERROR, "yes"),
    "a window, and others of its month, cannot be computed any more, as the month's hash secret is destroyed: they "
    "stay as they are",
)
REPAIR_LACKS = Event(
    *("repair_lacks", WARNING, "yes"),
    "files of a window came to the archive after others of it were deleted, so no computation of it has the records "
    "of all: what counts is the one of most files, and it lacks so many others (`files`). Put back what was deleted, "
    "and it is computed from all of its files. Said at each look",
)
LATE_FILE = Event(
    *("late_file", INFO, "no"),
    "a file of the archive (`file`) has records of an earlier window than it is looked up for: that window is computed "
    "again, with it",
)
LATE_FILE_GONE = Event(
    *("late_file_gone", WARNING, "often: look"),
    "a file of the archive (`file`) that was kept for an earlier window was deleted or moved: that window is computed "
    "without it. What it had counts only if the window was computed before",
)
TOO_LATE_FILE = Event(
    *("too_late_file", WARNING, "often: look"),
    "a file of the archive (`file`) has so many `records` that are older than the allowed lateness: they are in no "
    "number, until a `backfill` counts them",
)
PUBLISHING_WAITS = Event(
    *("publishing_waits", WARNING, "no (`not_ready` follows)"), "a round of the reconciler waits for a store"
)
PUBLISHING_FAILED = Event(*("publishing_failed", ERROR, "no (`not_ready` follows)"), "a round of the reconciler failed")
OBJECT_UNREADABLE = Event(
    *("object_unreadable", ERROR, "yes"),
    "an object of the state store is not what was written (`key`): what is made of it stays as it is. Of an entry "
    "in the cache, or a file of the cache in this process: it counts as lost, and is written again",
)
LOCK_WAITS = Event(
    *("lock_waits", WARNING, "no (`not_ready` follows)"),
    "the lock of the state store could not be refreshed for now; after a minute another local runner may take it",
)
LOCK_KEPT = Event(
    *("lock_kept", WARNING, "no"), "the lock of the state store could not be released, and expires by itself"
)
FOREIGN_OBJECT = Event(
    *("foreign_object", WARNING, "often: look"),
    "something in the state store is not ours (`key`, and how many: `objects`), such as a README or a copy: it is "
    "passed over, and never deleted. Once for each kind of folder",
)


def of_the_kcl(part: str, level: str) -> Event:
    """Of a line that a class of the KCL logs."""
    return Event(f"kcl.{part}", level, "no", "")


EVENTS: tuple[Event, ...] = tuple(value for value in dict(globals()).values() if isinstance(value, Event))
