"""How log lines leave the process: what `sa_stream.log` tells comes in, one line an event goes out (JSON, or a readable
line on a terminal), through the standard library's logging."""

import atexit
import io
import json
import logging
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any, TextIO

from consumer.process.log_writer import Log_Writer
from consumer.process.terminal import printable
from sa_stream.config import SA__Config
from sa_stream.log import FATAL, LOG_DROPPED, ROOT, THREAD_FAILED, Log
from sa_stream.secrecy import without_secrets

REPEATS_PER_MINUTE_MAX = 20  # of one warning or error; the next line that passes says how many were left out
_FOREIGN_LEVEL = logging.WARNING  # libraries: only what a person on call wants


class _Repeats(logging.Filter):
    """Caps each warning and error: a dead store fails a thousand times a minute, and one line says it."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        key = (record.name, getattr(record, "event", str(record.msg)[:200]))
        now_s = time.monotonic()
        since_s, count = self._seen.get(key, (now_s, 0))
        if now_s - since_s < 60:
            self._seen[key] = (since_s, count + 1)
            return count < REPEATS_PER_MINUTE_MAX
        if len(self._seen) > 1000:
            self._seen.clear()
        self._seen[key] = (now_s, 1)
        if count > REPEATS_PER_MINUTE_MAX:
            record.left_out = count - REPEATS_PER_MINUTE_MAX
        return True


class _Format(logging.Formatter):
    """Common to both forms: what a line is made of, with every secret taken out of it."""

    def format(self, record: logging.LogRecord) -> str:
        fields = dict(getattr(record, "fields", {}))
        if hasattr(record, "left_out"):
            fields["left_out"] = record.left_out
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        moment = datetime.fromtimestamp(record.created, UTC)
        event = getattr(record, "event", record.name)
        message, fields = without_secrets(record.getMessage()), _cleaned(fields)
        return self.line(moment, record.levelname.lower(), event, message, fields)

    def line(self, moment: datetime, level: str, event: str, message: str, fields: dict[str, Any]) -> str:
        raise NotImplementedError


def _cleaned(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {name: _cleaned(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(part) for part in value]
    return without_secrets(str(value))


class _Json(_Format):
    def line(self, moment: datetime, level: str, event: str, message: str, fields: dict[str, Any]) -> str:
        time_utc = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry = {"ts": time_utc, "level": level, "event": event, "message": message, "fields": fields}
        return json.dumps(entry)


class _Text(_Format):
    def line(self, moment: datetime, level: str, event: str, message: str, fields: dict[str, Any]) -> str:
        traceback = fields.pop("traceback", "")
        pairs = "".join(f" {name}={printable(str(value))}" for name, value in fields.items())
        line = f"{moment:%H:%M:%S} {level:<7} {event}: {printable(message)}{pairs}"
        return "\n  ".join([line, *map(printable, traceback.splitlines())])


log = Log("log")
_writer: Log_Writer | None = None


def setup_logging(config: SA__Config, stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` (stderr by default), in the form that the settings ask for."""
    global _writer
    stream = stream or sys.stderr
    form = config.log_format or ("text" if stream.isatty() else "json")
    handler: logging.Handler
    try:
        handler = _writer = Log_Writer(stream.fileno(), _flows_again)
        atexit.register(drain_log)
        logging.captureWarnings(True)  # else they go to stderr by another way, and wait there for a reader
        threading.excepthook = _thread_failed
    except (OSError, io.UnsupportedOperation):  # a stream in memory
        handler = logging.StreamHandler(stream)
    handler.setFormatter((_Json if form == "json" else _Text)())
    handler.addFilter(_Repeats())
    level = logging.getLevelNamesMapping()[config.log_level.upper()]
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, _FOREIGN_LEVEL))
    logging.getLogger(ROOT).setLevel(level)


def log_lines_dropped() -> int:
    """Lines that nobody took, since the start of the process."""
    return _writer.dropped if _writer else 0


def drain_log() -> None:
    """Before the process ends: wait for what was logged to be written, but not long."""
    if _writer:
        _writer.drain()


def fatal(message: str, error: BaseException | None, **fields: Any) -> None:
    """The last line of a process, also of one that ends before it knows its settings. `error` adds its traceback."""
    logger, handler = logging.getLogger(ROOT), logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    if _writer is None:
        logger.addHandler(handler)
    log.tell(FATAL, message, error, **fields)
    logger.removeHandler(handler)
    drain_log()


def _flows_again(dropped: int) -> None:
    log.tell(LOG_DROPPED, f"nobody read the log for a while: {dropped} lines were dropped", dropped=dropped)


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    name = failed.thread.name if failed.thread else "?"
    if failed.exc_type is not SystemExit:
        log.tell(THREAD_FAILED, f"the thread {name} has ended: {failed.exc_value!r}", failed.exc_value, thread=name)
