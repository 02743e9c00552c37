"""Agents of `agents.txt`, each with what it is."""

from collections.abc import Iterator
from pathlib import Path

from sa_stream.records.agents import Agent

FILE = Path(__file__).parent / "agents.txt"


def agents() -> Iterator[tuple[str, Agent]]:
    """Each agent of the file, not percent-encoded, and its class."""
    expected = None
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            expected = _class(line.removeprefix("== "))
        elif line and not line.startswith("# ") and not line.startswith("#   "):
            assert expected is not None
            yield line, expected


def _class(text: str) -> Agent:
    kind, _, rest = text.partition(" ")
    names = rest.split(" | ")
    match kind:
        case "human":
            browser, system, device = names
            return Agent(kind, browser=browser, system=system, device=device)
        case "bot_known":
            return Agent(kind, bot=names[0], ai=names[1:] == ["ai"])
        case _:
            return Agent(kind)
