"""Text from outside, made safe for a terminal: what an attacker put into a path must not move the cursor, change the
title, or reverse the reading order of a line, and what a store quotes of our keys must not be read over a shoulder.
And ours, made safe for what that terminal can show."""

import io
import os
import sys
import unicodedata
from typing import Any

from sa_stream.secrecy import without_secrets

_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls, invisible and bidirectional marks, line separators

_STDOUT, _STDERR = 1, 2


def printable(text: str) -> str:
    """The same text with every character that a terminal might act on as its escape (`\\x1b`, `\\u202e`), and without
    secrets."""
    text = without_secrets(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _UNSAFE else character
        for character in text
    )


class _Heard_Or_Not(io.FileIO):
    """Standard error, of which a full disk or a reader that has gone takes what is said, and no more."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def never_fail_to_print() -> None:
    """A terminal that has only ASCII gets `\\xe9`, and no traceback. What is said on a standard error that was closed
    before we started, or takes nothing, is said to nobody; what is written to such a standard output fails, so that no
    result is lost in silence. Otherwise a file of ours would get their numbers."""
    if sys.stdout is None:
        _occupy(_STDOUT, os.O_RDONLY)
        sys.stdout = open(_STDOUT, "w", closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stderr is None:
        _occupy(_STDERR, os.O_WRONLY)
        sys.stderr = open(_STDERR, "w", closefd=False)  # noqa: SIM115 - as long as the process
    elif sys.stderr is sys.__stderr__:
        heard = io.BufferedWriter(_Heard_Or_Not(_STDERR, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(heard, encoding=getattr(sys.stderr, "encoding", None), line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _occupy(number: int, how: int) -> None:
    """Let a number that is free stand for nobody, also in processes of ours."""
    nobody = os.open(os.devnull, how)
    if nobody == number:
        os.set_inheritable(number, True)
    else:
        os.dup2(nobody, number)
        os.close(nobody)
