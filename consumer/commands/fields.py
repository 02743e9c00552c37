"""`sa-stream fields`: the first records of a file, of standard input or of the stream come in; what each of their
columns is, and the settings that read them, go out."""

import sys
from collections.abc import Iterable, Iterator

from rich.table import Table

from consumer.commands.doctor import sample
from consumer.commands.screen import shown, wide_console
from sa_stream.config import SA__Config
from sa_stream.errors import Source_Error
from sa_stream.log_file import Log_Form, Log_Lines
from sa_stream.records.dead_letters import shown_value
from sa_stream.records.decoder import unpacked
from sa_stream.records.field_finder import Finding, First_Records, find, kind_in
from sa_stream.records.fields import FORBIDDEN_FIELDS, MISSING, resolve_field_lists
from sa_stream.sources.kinesis_reader import Kinesis_Reader
from sa_stream.sources.log_files import Log_Files

STREAM = "stream"
CANDIDATES_SHOWN = 4
EXAMPLE_CHARS_MAX = 48


def show_fields(source: str, config: SA__Config) -> bool:
    """Print the columns of the first records as a table, and the settings to copy; returns whether their list is
    certain. Raises Source_Error, Store_Unavailable."""
    records = First_Records.of(_payloads(source, config))
    lists = resolve_field_lists("auto", config.drop_fields, config.allow_fields)
    finding = find(records, lists.dropped, lists.allowed)
    if finding.rows:
        wide_console().print(_table(finding))
    if finding.problem:
        print(f"{finding.problem[0].upper()}{finding.problem[1:]}.", file=sys.stderr)
    if finding.settings:
        if finding.problem:
            print("If this is the list of your real-time log configuration:", file=sys.stderr)
        print("\n".join(finding.settings))
    return not finding.problem


def _payloads(source: str, config: SA__Config) -> Iterable[bytes]:
    if source != STREAM:
        return _lines(Log_Files([source]))
    config.require_stream()
    reader = Kinesis_Reader(config.stream)
    return map(unpacked, sample(reader, reader.list_shards()))


def _lines(logs: Log_Files) -> Iterator[bytes]:
    for piece in logs:
        if piece.file.form != Log_Form.TEXT or not isinstance(piece, Log_Lines):
            raise Source_Error(
                f"{piece.file.name} is a log of another form ({piece.file.form}), which names its fields itself: "
                "`sa-stream replay` reads it as it is"
            )
        yield piece.content
    error = next((file.error for file in logs.files if file.error), None)
    if error is not None:
        raise Source_Error(error)


def _table(finding: Finding) -> Table:
    table = Table("column", "field", "looks like", "example", box=None)
    columns = list(zip(*finding.rows, strict=True))
    for place, values in enumerate(columns):
        candidates = finding.candidates[place] if finding.candidates else ()
        example = next((_example(candidates, value) for value in values if value not in MISSING), "")
        table.add_row(*map(shown, (place + 1, _name(finding, place), kind_in(values), example)))
    return table


def _name(finding: Finding, place: int) -> str:
    """The field of a column; where it may be another as well, the likeliest first."""
    if not finding.candidates:
        return "?"
    candidates = finding.candidates[place]
    first = finding.names[place : place + 1]
    names = [*first, *(name for name in candidates if name not in first)]
    more = ", …" if len(names) > CANDIDATES_SHOWN else ""
    return f"{' or '.join(names[:CANDIDATES_SHOWN])}{more}" or "?"


def _example(candidates: Iterable[str], value: str) -> str:
    """A value as people may see it, if it may be seen whichever field it is of."""
    seen = {shown_value(name, value, FORBIDDEN_FIELDS) for name in candidates}
    return seen.pop()[:EXAMPLE_CHARS_MAX] if len(seen) == 1 else "[removed]"
