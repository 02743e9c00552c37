"""How a process ends by an error: the error comes in, one sentence that the user can act on and an exit code go out.
Only a mistake of ours has a traceback. Imports nothing heavy, as whatever is heavy may be what failed."""

import atexit
import errno
import os
import sys
import threading
import traceback
from typing import NoReturn

from consumer.process.address_space import short_of_memory
from sa_stream.errors import Config_Error, SA_Stream_Error

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def end_by(error: BaseException, is_daemon: bool) -> None:
    """Exit as this error deserves it; comes back from one that means what it says: an exit, and what is no Exception
    (a panic of Rust's), unless it was for want of memory."""
    if isinstance(error, SystemExit):
        return
    if isinstance(error, SA_Stream_Error):
        end(str(error), WRONG_USE if isinstance(error, Config_Error) else FAILED, is_daemon, error)
    if isinstance(error, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    if isinstance(error, BrokenPipeError):  # whoever read our output has had enough (`… | head`)
        _say_no_more()
        sys.exit(FAILED)
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None and not is_daemon:
        _say_no_more()
        end(f"what was printed could not be written, as its disk is full: {error.strerror}", FAILED, is_daemon)
    if isinstance(error, OSError) and error.errno == errno.EBADF and not is_daemon and not output_is_open():
        _say_no_more()
        end("standard output cannot be written: it is closed", FAILED, is_daemon)
    short = short_of_memory(error)
    if short is not None or isinstance(error, Exception):
        end(short or f"{type(error).__name__}: {error}", FAILED, is_daemon, error)


def output_is_open() -> bool:
    """Whether standard output takes anything: where it was closed, `never_fail_to_print` has put what does not."""
    try:
        return sys.stdout is not None and os.write(sys.stdout.fileno(), b"") == 0
    except OSError as error:
        return error.errno != errno.EBADF


def _flush_to_one_that_is_open(is_daemon: bool) -> None:
    """What a command has printed before it ended by an exit of its own must not be lost in silence either."""
    if sys.stdout is not None and not output_is_open():
        try:
            sys.stdout.flush()
        except OSError as error:
            end_by(error, is_daemon)


def _say_no_more() -> None:
    """Python would complain again at exit of what standard output did not take."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def end(message: str, code: int, is_daemon: bool, error: BaseException | None = None) -> NoReturn:
    """Say why the program ends, and end it: of the daemon a line of its log, of a command a sentence."""
    foreseen = error is None or isinstance(error, SA_Stream_Error) or short_of_memory(error) is not None
    form = os.environ.get("SGRAPH_SEND__SA_LOG_FORMAT", "").lower() or ("text" if sys.stderr.isatty() else "json")
    if is_daemon and form != "text":
        from consumer.process.log_setup import fatal

        fatal(message, None if foreseen else error, exit_code=code, kind=type(error).__name__ if error else "Usage")
    else:
        from consumer.process.terminal import printable

        if error is not None and not foreseen:
            lines = "".join(traceback.format_exception(error)).splitlines()
            print("\n".join(map(printable, lines)), file=sys.stderr)
        print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(code)


def leave(code: object, is_daemon: bool) -> None:
    """End the process as Python would, but for taking itself apart, object by object: a sixth of the time of a command
    that has loaded polars. Comes back if something is left to be said of the end, or if other threads run; those of the
    daemon have had their time, and may hang in a store, for which Python would wait."""
    _flush_to_one_that_is_open(is_daemon)
    if (threading.active_count() > 1 and not is_daemon) or not isinstance(code, int):
        return
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # None: it was closed before we started
                stream.flush()
    except (OSError, ValueError):
        return  # Python flushes again, and says what is wrong
    os._exit(code)
