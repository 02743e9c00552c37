"""What the README, the changelog and the documents in docs/ name exists: files, make targets, commands and their
options, settings, log events, parameters, and every other word in backticks. The documents come in, the names that
nothing answers to go out."""

import re
from functools import cache
from pathlib import Path

import pytest
import typer

from consumer.cli import app
from consumer.kcl.properties import BUILDERS, KNOWN
from consumer.process.memory import Pressure
from consumer.worker.lane_report import Quality, Repetition
from sa_stream import log
from sa_stream.config import PREFIX, SETTINGS
from sa_stream.health.metrics import METRICS
from sa_stream.health.notebook import Health_View, Kcl_View, Repairs_View, Shard_View, Store_View
from sa_stream.health.readiness import notes, readiness
from sa_stream.log import EVENTS, Event
from sa_stream.schemas.Schema__SA__Aggregate__Window import Schema__SA__Aggregate__Window
from sa_stream.timing import Moment

ROOT = Path(__file__).parents[1]
WRITTEN_LATER = {"docs/benchmarks.md"}  # by `make bench`
README_LINES_MAX = 200
DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    *sorted({f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} - WRITTEN_LATER),
)
FOLDERS = ("sa_stream", "consumer", "tests", "benchmarks", "scripts", "requirements")
SOURCES = (*FOLDERS, "Makefile", "pyproject.toml", "docker-compose.yml")
SEEDS = "docs/seeds.md"
# Names of the documents that the product came from, which are not here, as docs/seeds.md says.
NOT_HERE = {
    "Safe_Str__Id",
    "Service__Metrics__Cache",
    "retrieve__cache_key__json",
}
# Examples, and the placeholders of keys.
EXAMPLES = {
    "my.logs.example",
    "s3://bucket/prefix",
    "cmcd-",
    "ACCOUNT",
    "REGION",
    "LAST",
    "kcl.",
    "JAVA_TOOL_OPTIONS=-Xmx512m",
}
# Names of AWS's, of Java's and of systemd's that are written nowhere here.
FOREIGN = {"AWS_ENDPOINT_URL_CLOUDWATCH", "KillMode=mixed", "OutOfMemoryError", "kcl.LeaseCoordinator"}
PLACEHOLDERS = re.compile(
    r"\b(?:WINDOW|PARTITION|LINEAGE|WATERMARK|SHARD|NUMBER|LINE|LAST|STREAM|APPLICATION(?=-)|n|r)\b"
)

COMMAND = typer.main.get_command(app)
FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MAKE = re.compile(r"\bmake ([a-z-]+)")
RUN = re.compile(r"\bsa-stream ([a-z]+(?:-[a-z]+)?)([^\n|`>#]*)")
PYTHON_MODULE = re.compile(r"python -m ([a-z_.]+)")


def text_of(document: str) -> str:
    return (ROOT / document).read_text()


def code_of(document: str) -> list[str]:
    """Fenced blocks, and what stands in backticks outside of them."""
    text = text_of(document)
    return [*FENCE.findall(text), *spans_of(document)]


def spans_of(document: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text_of(document)))


@cache
def sources() -> str:
    """All text of the project but its documents and this test."""
    files = [
        path for name in SOURCES for path in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"))
    ]
    read = (path for path in files if path.is_file() and path.suffix != ".pyc" and path != Path(__file__))
    return "\n".join(path.read_text(errors="replace") for path in sorted(read))


@cache
def words() -> frozenset[str]:
    return frozenset(re.findall(r"\w+", sources()))


def exists(token: str) -> bool:
    """Whether something answers to this name: a file, a key, an address, or a word of the sources."""
    plain = PLACEHOLDERS.sub("", token).removesuffix("()")
    if re.match(r"(?:sa_stream|consumer|tests|benchmarks|docs|scripts|requirements)/|\.ci/", token):
        return (ROOT / token).exists() or token in WRITTEN_LATER
    if plain != token:  # a key: its fixed parts are in the code
        return all(part in sources() for part in re.findall(r"[a-z-]{3,}/?", plain))
    if re.fullmatch(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", plain) and plain not in sources():  # Class.method
        return words().issuperset(plain.split("."))
    if re.fullmatch(r"\w+", plain):
        return plain in words()
    return plain in sources()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_name_in_backticks_is_one_of_this_project(document: str) -> None:
    tokens = {span for span in spans_of(document) if " " not in span} - EXAMPLES - FOREIGN
    if document == SEEDS:
        tokens -= NOT_HERE
    tokens = {
        token for token in tokens if "…" not in token and not token.startswith((PREFIX, "kinesis:", "s3:", "kms:"))
    }
    assert len(tokens) >= 10
    assert [token for token in sorted(tokens) if not exists(token)] == []


def test_what_is_said_not_to_be_here_is_not_here() -> None:
    assert set(spans_of(SEEDS)) >= NOT_HERE
    code = "\n".join(path.read_text() for room in ("sa_stream", "consumer") for path in (ROOT / room).rglob("*.py"))
    assert [name for name in sorted(NOT_HERE) if re.search(rf"^(?:class|def) {name}\b|^{name} =", code, re.M)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_is_in_the_makefile(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for code in code_of(document) for target in MAKE.findall(code)}
    assert named or document != "README.md"
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_and_option_is_one_of_the_command_line(document: str) -> None:
    for code in code_of(document):
        for name, rest in RUN.findall(code):
            assert name in COMMAND.commands, f"sa-stream {name}"
            known = {option for parameter in COMMAND.commands[name].params for option in parameter.opts} | {"--help"}
            assert set(re.findall(r"--[a-z-]+", rest)) <= known, f"sa-stream {name}{rest}"


def test_the_readme_names_every_command_with_all_its_options() -> None:
    rows = dict(re.findall(r"^\| `sa-stream ([\w-]+)` \|(.*) \|$", text_of("README.md"), re.MULTILINE))
    assert set(rows) == set(COMMAND.commands)
    for name, row in rows.items():
        known = {
            option for parameter in COMMAND.commands[name].params for option in parameter.opts if option[:2] == "--"
        }
        assert set(re.findall(r"--[a-z-]+", row)) == known


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_setting_that_is_named_in_full_is_a_setting(document: str) -> None:
    named = set(re.findall(rf"{PREFIX}(\w+)", text_of(document)))
    assert {name for name in named if not name.startswith("KCL__")} <= {setting.name for setting in SETTINGS}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_property_of_the_kcl_that_is_named_is_one(document: str) -> None:
    for name in re.findall(rf"{PREFIX}KCL__([\w.]+)", text_of(document)):
        assert name in KNOWN or BUILDERS.fullmatch(name), name


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_module_that_is_started_can_be(document: str) -> None:
    for code in code_of(document):
        for module in PYTHON_MODULE.findall(code):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text_of(document)):
        place, _, anchor = target.partition("#")
        if place.startswith("https://"):
            continue
        file = (ROOT / document).parent / place if place else ROOT / document
        assert file.exists(), target
        if not anchor:
            continue
        headings = re.findall(r"^#+ (.*)$", FENCE.sub("", file.read_text()), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in headings}


def test_every_room_is_in_the_architecture() -> None:
    section = text_of("docs/architecture.md").split("## Rooms and directions")[1].split("\n## ")[0]
    rooms = [
        f"{path.relative_to(ROOT)}{'/' if path.is_dir() else ''}"
        for house in ("sa_stream", "consumer")
        for path in (ROOT / house).iterdir()
        if (path / "__init__.py").exists() or (path.suffix == ".py" and not path.name.startswith("__"))
    ]
    assert len(rooms) > 20
    assert [room for room in sorted(rooms) if f"`{room}`" not in section] == []


def test_the_readme_is_short_and_leads_to_every_other_document() -> None:
    readme = text_of("README.md")
    assert len(readme.splitlines()) <= README_LINES_MAX
    assert [document for document in (*DOCUMENTS[1:], *WRITTEN_LATER) if f"]({document})" not in readme] == []


def test_changelog_and_operations_say_which_format_version_is_written_and_which_are_read() -> None:
    from sa_stream.format import READABLE, VERSION

    states = text_of("CHANGELOG.md").split("\n## ")[1:]
    versions = [re.findall(r"^Format version (\d+)(?:; reads (\d.*))?\.$", state, re.MULTILINE) for state in states]
    assert all(len(said) == 1 for said in versions)
    ((written, read),) = versions[0]
    assert int(written) == VERSION
    assert tuple(int(number) for number in re.findall(r"\d+", read)) == READABLE
    *older, before = map(str, READABLE[:-1])
    said = f"{', '.join(older)} and {before}"
    operations = text_of("docs/operations.md")
    assert f"it is {VERSION}, and {said} are still read" in operations
    assert f"this one reads versions {said}." in operations


def test_every_direct_dependency_has_its_reason_and_no_other_has_one() -> None:
    section = text_of("docs/development.md").split("## Dependencies")[1].split("\n## ")[0]
    tables = re.findall(r"^\| to [^|]+\| reason \|\n\| --- \| --- \|\n((?:\|.*\n)+)", section, re.MULTILINE)
    rows = [row for table in tables for row in re.findall(r"^\| ([^|]+) \| [^|]+ \|$", table, re.MULTILINE)]
    explained = {name for row in rows for name in row.split(", ")}
    files = [ROOT / "requirements" / name for name in ("runtime.in", "kcl.in", "dev.in")]
    lines = [line for file in files for line in file.read_text().splitlines() if not line.startswith("-r")]
    direct = {re.split("[=<]", line)[0].strip() for line in lines}
    assert explained - direct == {"kinesis-local (npm)"}
    assert direct - explained == set()


def test_every_reason_of_missing_sources_is_explained() -> None:
    from sa_stream.rollups import finality, repairs, wanted

    section = text_of("docs/entries.md").split("| reason in `missing_sources` |")[1].split("\n\n")[0]
    reasons = [finality.OPEN, finality.LAGGING, finality.NOT_STARTED, finality.WAITING_FOR_CHILDREN]
    reasons += [finality.OLD_LIST, finality.BEFORE_START, finality.NOT_COVERED, finality.SET_ASIDE]
    reasons += [wanted.NOT_FINAL, wanted.NOT_PUBLISHED, repairs.FILE_UNREADABLE]
    assert [reason for reason in reasons if f"`{reason}`" not in section] == []


def test_every_field_of_an_entry_is_explained() -> None:
    named = spans_of("docs/entries.md")
    assert [name for name in Schema__SA__Aggregate__Window.__annotations__ if name not in named] == []


def test_the_api_s_addresses_are_described_as_the_routes_are() -> None:
    from sa_stream.api.document import addresses, refusals

    made = text_of("docs/api.md").split("(python -m sa_stream.api.document) -->\n")[1].split("\n<!--")[0]
    assert made == f"{refusals()}\n\n{addresses()}"


def everything_that_health_says() -> list[str]:
    """Every reason and note, of consumers to which everything has happened."""
    begin, young_at, now = Moment(0), Moment(590_000), Moment(600_000)
    shard = Shard_View(begin, last_read=begin, uncommitted_since=begin, blocked="The state store *")
    shard.unreadable, shard.unreadable_since = "Kinesis *", begin
    shard.malformed = Quality(0, 0).verdict({"records": 100, "fields": 60}, {"ssl-protocol": 60})
    shard.duplicates = Repetition(0, 0).verdict({"records": 1_000, "duplicates": 600})
    young = Shard_View(young_at)
    kcl = Kcl_View("restarting: *", begin, unread={"*": begin})
    store = Store_View(failing_since=begin, reason="*")
    views = [
        Health_View(
            begin,
            60_000,
            {},
            {"*": shard},
            {"state store": store},
            9_000,
            memory=f"{Pressure(1 << 30)}: reading pauses",
            kcl=kcl,
            gone={"*": 0},
            lost={"*": "*"},
            repairs=Repairs_View((0,), {0: "*"}),
        ),
        Health_View(young_at, 60_000, {}, {"*": young}, kcl=Kcl_View("running", idle_since=begin)),
        Health_View(begin, 60_000, {}, clock_stepped_ms=9_000),
        Health_View(young_at, 60_000, {}),
    ]
    return [sentence for view in views for sentence in (*readiness(view, now), *notes(view, now))]


def test_every_reason_and_note_of_readiness_is_explained_in_the_operations() -> None:
    """What health says begins as a row does, whatever the names and numbers in it."""
    section = text_of("docs/operations.md").split("## What each reason means")[1].split("\n## ")[0]
    explained = [re.split(r"…|\*", span) for span in re.findall(r"`([^`\n]+)`", section)]
    said = everything_that_health_says()
    assert len(said) >= 17

    def is_explained(sentence: str) -> bool:
        return any(
            re.match(".*".join(map(re.escape, parts)), sentence) for parts in explained if len("".join(parts)) > 12
        )

    assert [sentence for sentence in said if not is_explained(sentence)] == []


def test_the_operations_table_of_events_is_the_program_s_own() -> None:
    section = text_of("docs/operations.md").split("## Log events")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*) \|$", section, re.MULTILINE)
    assert rows == [f"`{event.name}` | {event.level} | {event.alarm} | {event.meaning}" for event in EVENTS]


def test_the_operations_table_of_metrics_is_the_program_s_own() -> None:
    section = text_of("docs/operations.md").split("\n## Metrics")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*) \|$", section, re.MULTILINE)
    assert rows == [
        f"`{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.meaning}"
        for metric in METRICS
    ]


def test_every_alert_is_in_the_operations_with_its_severity_and_no_other_is() -> None:
    section = text_of("docs/operations.md").split("\n## Alerts")[1].split("\n## ")[0]
    rules = (ROOT / "consumer" / "monitoring" / "alerts.yaml").read_text()
    defined = re.findall(r"alert: (\w+).*?severity: (\w+)", rules, re.DOTALL)
    assert len(defined) > 10
    assert re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE) == defined


def test_every_event_is_told_somewhere_and_has_a_name_of_its_own() -> None:
    files = [path for room in ("sa_stream", "consumer") for path in (ROOT / room).rglob("*.py")]
    code = "\n".join(path.read_text() for path in files if path != Path(log.__file__))
    names = [name for name, value in vars(log).items() if isinstance(value, Event)]
    assert [
        name
        for name in names
        if not re.search(rf"(?:tell\(|_say\(|if \w+ else )\s*(?:\w+ if \w+ else )?{name}\b|{name} if", code)
    ] == []
    assert len({event.name for event in EVENTS}) == len(EVENTS) == len(names)


def test_every_parameter_of_the_template_is_explained() -> None:
    template = (ROOT / "consumer" / "ecs" / "service.yaml").read_text()
    section = template.split("\nParameters:\n")[1].split("\nConditions:\n")[0]
    parameters = re.findall(r"^  (\w+):$", section, re.MULTILINE)
    named = spans_of("docs/ecs.md")
    assert len(parameters) > 20
    assert [name for name in parameters if name not in named] == []
    deployed = set(re.findall(r"\b([A-Z]\w+)=", "".join(FENCE.findall(text_of("docs/ecs.md")))))
    assert deployed <= set(parameters)
