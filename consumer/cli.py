"""The command line: arguments come in, one function of the consumer is called, an exit code goes out: 0 done, 1 failed,
2 wrong use, 130 stopped by Ctrl-C. What a command needs is imported when it runs, so that --help stays quick."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from consumer.process.address_space import require_address_space
from consumer.process.garbage import collect_rarely
from consumer.process.last_words import DONE, FAILED, INTERRUPTED, end, end_by, leave
from consumer.process.signals import ignore_others
from consumer.process.terminal import never_fail_to_print
from sa_stream import __version__

if TYPE_CHECKING:
    from sa_stream.config import SA__Config

app = typer.Typer(
    name="sa-stream",
    help="Traffic statistics from CloudFront real-time logs. Settings are environment variables: see docs/settings.md.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sa-stream {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def _comparable(number: float) -> float:
    """Refuses nan, which is in every range, as it is neither below nor above anything."""
    if number != number:
        raise typer.BadParameter("expected a number, found nan")
    return number


RECORDS_MAX = 1_000_000_000_000
HOURS_MAX = 876_600  # a century: records have times from 2001 to 2099
JOBS_MAX = 1_024
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same traffic.")]
Hours = Annotated[float, typer.Option(min=0.001, max=HOURS_MAX, callback=_comparable, help="Hours of traffic.")]
As_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, max=JOBS_MAX, help="Processes that read (default: the cores that may be used, if worth it)."),
]
From = Annotated[str, typer.Option("--from", help="ISO time of the first window.")]
To = Annotated[str, typer.Option("--to", help="ISO time before which the last window begins.")]


def _share(meaning: str) -> Any:
    return typer.Option(min=0, max=1, callback=_comparable, help=meaning)


def _config(**overrides: str | None) -> "SA__Config":
    """Settings from the environment, with those that an option overrides."""
    from sa_stream.config import PREFIX, SA__Config

    given = {PREFIX + name.upper(): value for name, value in overrides.items() if value is not None}
    return SA__Config.from_env({**os.environ, **given})


def _time_ms(text: str, option: str) -> int:
    from sa_stream.config import parse_time_ms

    time_ms = parse_time_ms(text)
    if time_ms is None:
        raise typer.BadParameter(
            f"expected an ISO time from 2001 to 2099 such as 2026-02-16T14:30:00Z, found {text!r}", param_hint=option
        )
    return time_ms


def _windows(from_: str, to: str) -> list[int]:
    """Starts of the windows of a time."""
    from consumer.commands.backfill import windows_between

    starts = windows_between(_time_ms(from_, "--from"), _time_ms(to, "--to"))
    if not starts:
        raise typer.BadParameter(f"--from ({from_}) must be before --to ({to})")
    return starts


@app.command()
def run(
    runner: Annotated[str | None, typer.Option(help="Who reads the shards: kcl or local.")] = None,
) -> None:
    """Consume the stream until stopped."""
    require_address_space()
    ignore_others()
    from consumer.commands.run import run as start

    start(_config(runner=runner))


@app.command()
def demo(
    records: Annotated[
        int | None, typer.Option(min=1, max=RECORDS_MAX, help="Records to start with (default: as many as fit).")
    ] = None,
    seed: Seed = 1,
    hours: Hours = 6,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the health endpoint; 0: any.")] = 8080,
    exit_when_final: Annotated[bool, typer.Option("--exit-when-final", help="Stop when all of it is final.")] = False,
    keep: Annotated[Path | None, typer.Option(help="Keep cache and state in this folder.")] = None,
    open_dashboard: Annotated[bool, typer.Option("--open", help="Open the dashboard in a browser.")] = False,
) -> None:
    """See it work: everything embedded, with a live view.

    Starts a stream, a cache service, traffic and the consumer in one go, and ends by Ctrl-C.
    """
    from consumer.commands.demo.demo import demo as start

    start(
        records=records,
        seed=seed,
        hours=hours,
        port=port,
        exit_when_final=exit_when_final,
        keep=keep,
        open_dashboard=open_dashboard,
    )


@app.command()
def generate(
    records: Annotated[int, typer.Option(min=1, max=RECORDS_MAX, help="How many lines.")] = 100_000,
    seed: Seed = 1,
    start: Annotated[
        str | None, typer.Option(help="ISO time of the first line (into a stream: so that it ends now).")
    ] = None,
    hours: Hours = 6,
    fields: Annotated[str, typer.Option(help="canonical, seed, or names with commas between.")] = "canonical",
    out: Annotated[
        list[str] | None,
        typer.Option(
            help="FILE (.gz: compressed), -, kinesis:STREAM, or FOLDER/ or s3://bucket/prefix for files as Firehose "
            "writes them; several times for the same lines in each.  [default: -]"
        ),
    ] = None,
    dirt: Annotated[float, _share("Share of lines with some dirt.")] = 0.0,
    duplicates: Annotated[float, _share("Share of lines that come twice.")] = 0.0,
    late: Annotated[float, _share("Share of lines that come minutes to hours late.")] = 0.0,
) -> None:
    """Make synthetic traffic.

    The same options give the same bytes.
    """
    from consumer.commands.generate import Wanted
    from consumer.commands.generate import generate as make

    wanted = Wanted(
        records=records,
        seed=seed,
        start_ms=None if start is None else _time_ms(start, "--start"),
        hours=hours,
        fields=fields,
        dirt=dirt,
        duplicates=duplicates,
        late=late,
    )
    make(out or ["-"], wanted)


@app.command()
def replay(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders, s3://bucket/prefix, or -.")],
    jobs: Jobs = None,
) -> None:
    """Aggregate log files, real-time or standard ones, in every form in which they come.

    They pass parser, windows and roll-ups; every entry is printed as a line of JSON.
    """
    from consumer.commands.replay import replay as start

    if not start(paths, _config(), jobs):
        sys.exit(FAILED)


@app.command()
def backfill(
    from_: From,
    to: To,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and read, and do nothing.")
    ] = False,
    jobs: Jobs = None,
    as_json: As_Json = False,
) -> None:
    """Compute windows anew from the archive.

    And publish them, with everything above them. What the stream made final stays. It can be stopped and run again.
    """
    from consumer.commands.backfill import backfill as start
    from consumer.commands.backfill import print_summary

    summary = start(_config(), _windows(from_, to), jobs, dry_run)
    if not print_summary(summary, as_json, dry_run):
        sys.exit(FAILED)


@app.command()
def verify(from_: From, to: To, jobs: Jobs = None, as_json: As_Json = False) -> None:
    """Compare what is stored with the archive.

    Counts the windows of a time again. Fails if something differs for no known reason.
    """
    from consumer.commands.verify import print_report
    from consumer.commands.verify import verify as compare

    if not print_report(compare(_config(), _windows(from_, to), jobs), as_json):
        sys.exit(FAILED)


@app.command()
def fields(
    source: Annotated[str, typer.Argument(metavar="FILE|-|stream", help="A file, -, or the stream of the settings.")],
) -> None:
    """Find the field list of records.

    Shows what each column is, and prints the settings to copy.
    """
    from consumer.commands.fields import show_fields

    if not show_fields(source, _config()):
        sys.exit(FAILED)


@app.command()
def show(
    key: Annotated[str | None, typer.Argument(help="Key of one entry, such as hourly/2026-02-16-14.")] = None,
    period: Annotated[str | None, typer.Option(help="30min, hourly, daily or monthly.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="ISO time of the first entry.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="ISO time before which the last entry begins.")] = None,
    as_json: As_Json = False,
) -> None:
    """Show entries from the cache service.

    One by its KEY, or those of a --period --from --to.
    """
    from consumer.commands.show import keys_between, show_entries
    from sa_stream.rollups.periods import PERIODS, parse_cache_key

    given = (period, from_, to)
    if any(given) if key is not None else not all(given):
        raise typer.BadParameter("give either KEY, or --period with --from and --to")
    if key is not None:
        try:
            parse_cache_key(key)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="KEY") from None
        keys = [key]
    else:
        if period not in PERIODS:
            raise typer.BadParameter(f"expected {', '.join(PERIODS)}, found {period!r}", param_hint="--period")
        start_ms, end_ms = _time_ms(from_ or "", "--from"), _time_ms(to or "", "--to")
        if start_ms >= end_ms:
            raise typer.BadParameter(f"--from ({from_}) must be before --to ({to})")
        keys = keys_between(period, start_ms, end_ms)
    if not show_entries(_config(), keys, as_json):
        sys.exit(FAILED)


@app.command()
def report(
    day: Annotated[str | None, typer.Option(help="One day, UTC, such as 2026-02-16 (default: yesterday).")] = None,
    week: Annotated[str | None, typer.Option(help="An ISO week, such as 2026-W08.")] = None,
    month: Annotated[str | None, typer.Option(help="A month, such as 2026-02.")] = None,
    as_json: As_Json = False,
) -> None:
    """Print the report of a day, a week or a month.

    Markdown: traffic beside the week before, people and bots, errors, slow and missed paths, referrers, gaps.
    """
    from consumer.commands.report import show_report
    from sa_stream.errors import Bad_Parameter
    from sa_stream.timing import wall_clock_ms

    given = {name: value for name, value in (("day", day), ("week", week), ("month", month)) if value is not None}
    try:
        found = show_report(_config(), given, as_json, wall_clock_ms())
    except Bad_Parameter as error:
        raise typer.BadParameter(str(error), param_hint=f"--{error.parameter}") from None
    if not found:
        sys.exit(FAILED)


@app.command()
def status(as_json: As_Json = False) -> None:
    """Ask the running daemon how it is.

    Its shards, its stores, and whether it is ready.
    """
    from consumer.commands.status import show_status

    show_status(_config(), as_json)


@app.command()
def doctor(as_json: As_Json = False) -> None:
    """Check settings, endpoints and permissions.

    Also the order of the fields, by a few records of the stream and the archive. One line a check.
    """
    require_address_space()
    from consumer.commands.doctor import doctor as examine

    if not examine(os.environ, as_json):
        sys.exit(FAILED)


@app.command()
def archive(
    older_than: Annotated[str, typer.Option(help="Age of the windows of the files to move, such as 30d.")] = "30d",
    to_class: Annotated[str | None, typer.Option(help="Storage class for files where they are, as GLACIER_IR.")] = None,
    to: Annotated[str | None, typer.Option(help="Where to move files: s3://bucket/prefix, or file:///path.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done: the default.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
    as_json: As_Json = False,
) -> None:
    """Move old log files, and prune what nothing needs.

    Only files whose windows are final and verified, to --to-class or --to; without either, it only prunes. Entries are
    pruned when they are older than RETAIN_*_DAYS.
    """
    from consumer.commands.archive import archive as start
    from consumer.commands.archive import old_enough_ms, target_of
    from consumer.commands.archive_report import print_report

    if dry_run and yes:
        raise typer.BadParameter("give either --dry-run or --yes")
    if to is not None and to_class is not None:
        raise typer.BadParameter("give either --to or --to-class")
    config = _config()
    try:
        older_ms = old_enough_ms(older_than, config)
        target = target_of(to, to_class, config)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not print_report(start(config, older_ms, target, yes), older_than, as_json):
        sys.exit(FAILED)


@app.command()
def adopt_stream() -> None:
    """Go on with a stream that was made anew.

    Declares the one before ended. Stop every worker first.
    """
    from consumer.commands.adopt_stream import adopt_stream as adopt

    adopt(_config(), typer.echo)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit. An error that the user can act on is one sentence, never a traceback; of the daemon it is
    a line of its log."""
    if os.environ.get("AWS_REGION"):  # which boto3 does not know, although every other SDK does
        os.environ.setdefault("AWS_DEFAULT_REGION", os.environ["AWS_REGION"])
    never_fail_to_print()
    given = list(sys.argv[1:] if arguments is None else arguments)
    is_daemon = _is_daemon(given)
    try:
        code = app(given, prog_name="sa-stream", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else DONE)
    except typer.exceptions.TyperException as error:  # wrong use: an unknown option, a missing argument
        if error.format_message():
            end(f"{error.format_message()} (see sa-stream --help)", error.exit_code, is_daemon)
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(INTERRUPTED)
    except BaseException as error:
        end_by(error, is_daemon)
        raise


def program(arguments: Sequence[str] | None = None) -> NoReturn:
    """The process `sa-stream`: main, with a quick start and a quick end."""
    # numpy's algebra, which nothing here uses, would start a thread for each core: a tenth of a short command's time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    collect_rarely()
    try:
        main(arguments)
    except SystemExit as ended:
        leave(ended.code, _is_daemon(sys.argv[1:] if arguments is None else arguments))
        raise


def _is_daemon(arguments: Sequence[str]) -> bool:
    return next((word for word in arguments if not word.startswith("-")), "") == "run"
