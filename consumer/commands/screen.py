"""What commands print with. Paths and hosts come from strangers: they reach a terminal only as `printable` text."""

import json
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from consumer.process.terminal import printable

WIDE_COLUMNS = 200


def wide_console() -> Console:
    """Standard output; wide where it is no terminal, so that `… | grep` loses no digit."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE_COLUMNS)


def print_whole(console: Console, table: Table) -> None:
    """A table of numbers, of which none is cut however narrow the terminal: that breaks the lines then."""
    wide = console.options.update(max_width=WIDE_COLUMNS)
    console.width = max(console.width, Measurement.get(console, wide, table).maximum)
    console.print(table)


def say(console: Console, line: str) -> None:
    """One line, however narrow the terminal: others search it."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def shown(value: Any, style: str = "") -> Text:
    """A value as it may be printed. `Text` knows no markup, so that `[red]` in a path stays what it is."""
    if value is None:
        text = "-"
    elif isinstance(value, dict):
        parts = [f"{name} {_plain(part)}" for name, part in value.items()]
        text = "  ".join(parts[:20]) + (f"  … ({len(parts)})" if len(parts) > 20 else "")
    elif isinstance(value, list):
        text = f"{len(value)}: " + ", ".join(_plain(part) for part in value[:5]) + (", …" if len(value) > 5 else "")
    else:
        text = _plain(value)
    return Text(printable(text), style=style)


def _plain(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)
