"""`make lint`: no function is over 70 lines or takes more than 7 arguments, no file is over 500 lines. Commands of the
command line may take as many as they have options, and lists of promises (the tests) may be as long as they are. Prints
what is too large, and ends with 1 if anything is.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("sa_stream", "consumer", "benchmarks", "scripts", "tests/simulation")
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
ARGUMENTS_MAX = 7
COMMANDS = "consumer/cli.py"


def findings(name: str, text: str) -> Iterator[str]:
    """What is too large in one file."""
    lines = len(text.splitlines())
    if lines > FILE_LINES_MAX:
        yield f"{name}: {lines} lines, {FILE_LINES_MAX} at most"
    for node in ast.walk(ast.parse(text, name)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > FUNCTION_LINES_MAX:
            yield f"{name}:{node.lineno}: {node.name} has {length} lines, {FUNCTION_LINES_MAX} at most"
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = sum(argument.arg not in ("self", "cls") for argument in given)
        if count > ARGUMENTS_MAX and name != COMMANDS:
            yield f"{name}:{node.lineno}: {node.name} takes {count} arguments, {ARGUMENTS_MAX} at most"


def main() -> int:
    found = [
        finding
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if "node_modules" not in path.parts
        for finding in findings(str(path.relative_to(ROOT)), path.read_text())
    ]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
