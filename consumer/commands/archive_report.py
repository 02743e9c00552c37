"""What `sa-stream archive` has done, or would do, as sentences or JSON."""

from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Struct, field
from rich import filesize

from consumer.commands.screen import say, wide_console
from consumer.process.terminal import printable
from sa_stream.bounded.archiving import NOT_FINAL, NOT_VERIFIED, TOO_LARGE, YOUNG, Left, Outcome, Way
from sa_stream.rollups.pruning import Pruned
from sa_stream.secrecy import without_secrets
from sa_stream.timing import iso

SHOWN_MAX = 20  # files of a kind, by name

WORDS = {
    YOUNG: "are younger, at least in part",
    NOT_FINAL: "have windows that are not final",
    NOT_VERIFIED: "have windows that do not say what their files say, or could not be held against them",
    TOO_LARGE: "are larger than S3 copies in one call (5 GiB)",
}
ADVICE = {
    NOT_FINAL: "`sa-stream show` has `missing_sources`",
    NOT_VERIFIED: "`sa-stream verify` says why, and `sa-stream backfill` counts files that landed after",
}


class Kept(Struct):
    """Files that stay for one reason; the first of their names."""

    files: int = 0
    names: list[str] = field(default_factory=list)
    size_bytes: int = 0
    first_window: str = ""
    last_window: str = ""

    def add(self, left: Left) -> None:
        self.files += 1
        if len(self.names) < SHOWN_MAX:
            self.names.append(left.file.name)
        self.size_bytes += left.file.size_bytes
        first, last = str(iso(left.windows[0])), str(iso(left.windows[-1]))
        self.first_window = min(self.first_window or first, first)
        self.last_window = max(self.last_window, last)


class Report(Struct):
    """What was done, or would be. days: files by the day of their oldest record; state: objects that went from the
    state store, by the first part of their keys; open_manifests: that an earlier run has left; errors: what ended the
    run before its time."""

    dry_run: bool
    way: Way | None
    moved: Outcome = field(default_factory=Outcome)
    days: Counter[str] = field(default_factory=Counter)
    left: dict[str, Kept] = field(default_factory=dict)
    open_manifests: int = 0
    pruned: Pruned = field(default_factory=Pruned)
    state: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0


def print_report(report: Report, older_than: str, as_json: bool) -> bool:
    """Sentences, or JSON; whether nothing failed."""
    if as_json:
        print(without_secrets(msgspec.json.encode(report).decode()))
    else:
        console = wide_console()
        for line in _sentences(report, older_than):
            say(console, printable(line))
    return not report.moved.failed and not report.errors


def _sentences(report: Report, older_than: str) -> Iterator[str]:
    way, moved = report.way, report.moved
    if way is not None:
        to = way.storage_class if way.in_place else f"{way.to_place}/{way.to_base}"
        did = "Would move" if report.dry_run else "Moved"
        yield f"{did} {moved.files:,} files ({filesize.decimal(moved.size_bytes)}) to {to}."
        yield from (f"    {day}: {files:,} files" for day, files in sorted(report.days.items()))
        for reason, kept in sorted(report.left.items()):
            span = f"{kept.first_window} to {kept.last_window}"
            advice = f"; {ADVICE[reason]}" if reason in ADVICE else ""
            yield f"{kept.files:,} files stay as they {WORDS[reason]} (windows of {span}{advice})."
            if reason == TOO_LARGE:
                yield from (f"    {name}" for name in kept.names)
        for name, why in list(moved.failed.items())[:SHOWN_MAX]:
            yield f"failed: {name}: {why}"
        if len(moved.failed) > SHOWN_MAX:
            yield f"... and {len(moved.failed) - SHOWN_MAX:,} more, see --json."
        if report.open_manifests:
            yield f"{report.open_manifests:,} manifests of an earlier run are open: --yes finishes them first."
        yield from (f"manifest: {key}" for key in moved.manifests)
        yield f"Files whose oldest record is younger than {older_than} were not looked at."
    did = "Would prune" if report.dry_run else "Pruned"
    gone = ", ".join(f"{number:,} {what}" for what, number in sorted(report.pruned.gone.items()) if number)
    yield f"{did} from the cache: {gone or 'nothing'}."
    yield from (f"    {number:,} {what}" for what, number in report.pruned.together.items())
    for what, reasons in sorted(report.pruned.left.items()):
        told = ", ".join(f"{number:,} {reason}" for reason, number in sorted(reasons.items()))
        yield f"Entries past their retention that stay, {what}: {told}."
    gone = ", ".join(f"{number:,} {what}" for what, number in sorted(report.state.items()) if number)
    yield f"{did} from the state store: {gone or 'nothing'}."
    yield from (f"failed: {error}" for error in report.errors)
    if report.dry_run:
        yield "Nothing was changed: --yes acts."
