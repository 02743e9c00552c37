"""One file of logs as the rooms speak of it: the source says what form it has and hands over pieces, whoever reads
these notes what became of its records, and the summary shows what of it was not aggregated."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from sa_stream.errors import Config_Error
from sa_stream.frames import pl
from sa_stream.secrecy import as_found

W3C_HEADER = b"#Fields:"  # a line that begins so names the columns of those below it
_URL = re.compile(r"(?:([a-z][a-z0-9+.-]*)://|(?:s3|file):)(.*)", re.DOTALL | re.IGNORECASE)


def place_of(text: str) -> tuple[str, str]:
    """Where logs are, as people say it: `s3` with bucket and prefix, `file` or '' with a path. Raises Config_Error for
    what would be a file or folder that nobody means: without a name, or called `s3:`, `https:` or `~`."""
    found = _URL.fullmatch(text)
    scheme, place = ((found[1] or "none").lower(), found[2]) if found else ("", text)
    named = {"": bool(place), "file": place[:1] not in ("", "~"), "s3": place[:1] not in ("", "/")}
    if not named.get(scheme, False):
        raise Config_Error(f"expected a path, file:///path or s3://bucket/prefix, found {as_found(text)}")
    return scheme, place


class Log_Form(StrEnum):
    """What the lines of a file are. TEXT has no names of its own; the others bring theirs."""

    TEXT = "real-time"
    W3C = "standard, W3C"
    JSON_LINES = "standard, JSON lines"
    PARQUET = "standard, Parquet"


class Log_File(Struct):
    """What is known of a file.

    name      what errors call it; `form`: None until it was looked into
    records   lines that are records; `invalid`: how many of them for which reason are in no aggregate
    warning   what is odd about it, though all of it was read; `error`: why it was not read, or not to its end
    """

    name: str
    form: Log_Form | None = None
    records: int = 0
    invalid: Counter[str] = field(default_factory=Counter)
    warning: str | None = None
    error: str | None = None

    def summary(self) -> dict[str, Any] | None:
        """Its line in a summary; None if there is nothing to say."""
        said = {"invalid": dict(sorted(self.invalid.items())), "warning": self.warning, "error": self.error}
        said = {name: value for name, value in said.items() if value}
        return {"path": self.name, "form": self.form, "records": self.records, **said} if said else None


def of_whole_files(files: Iterable[Log_File]) -> list[Log_File]:
    """One note a name, of the notes of a file's ranges."""
    found: dict[str, Log_File] = {}
    for file in files:
        whole = found.setdefault(file.name, file)
        if whole is not file:
            whole.records += file.records
            whole.invalid += file.invalid
            whole.form = file.form if file.form == Log_Form.W3C else whole.form or file.form
            whole.warning = whole.warning or file.warning
            whole.error = whole.error or file.error
    return list(found.values())


class Log_Lines(Struct, frozen=True):
    """Whole lines of a file, each ended by a newline."""

    file: Log_File
    content: bytes


class Log_Table(Struct, frozen=True):
    """A whole file of columns: their names, and a way to read some of them (and only them) in frames of bounded
    size."""

    file: Log_File
    names: tuple[str, ...]
    frames: Callable[[Sequence[str]], Iterator[pl.DataFrame]]
