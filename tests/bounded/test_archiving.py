"""Log files are put elsewhere: only what is final and verified, nothing lost whoever is killed where, and a second run
finishes."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec import Struct, field
from msgspec.structs import replace

from sa_stream.archive.layout import LAYOUTS, Places
from sa_stream.bounded.archiving import (
    COPY_BYTES_MAX,
    DONE,
    NOT_FINAL,
    NOT_VERIFIED,
    TOO_LARGE,
    YOUNG,
    Archiver,
    Knowledge,
    Move,
    Outcome,
    Way,
    by_day,
    carried_out,
    plan_archive,
    plan_steps,
    understood,
)
from sa_stream.commits.keys import MANIFESTS_PREFIX
from sa_stream.commits.operations import drive
from sa_stream.embedded.memory_archive import Memory_Archive
from sa_stream.errors import Config_Error, SA_Stream_Error, Source_Error, Store_Unavailable
from sa_stream.sources.archive import Archive
from sa_stream.sources.folder_archive import Folder_Archive
from sa_stream.storage.state_store import State_Store
from sa_stream.timing import DAY_MS, HOUR_MS, MINUTE_MS, WINDOW_MS, start_of_month

PLACES = Places("logs/", LAYOUTS["hours"], ZoneInfo("UTC"))
DAY = start_of_month("2026-02") + 15 * DAY_MS  # 2026-02-16
SETTLE_MS = 15 * MINUTE_MS
UNTIL_MS, AT_MS = DAY + 30 * DAY_MS, DAY + 60 * DAY_MS
TO_COLD = Way("hot", "logs/", "cold", "old/logs/")
TO_CLASS = Way("hot", "logs/", "hot", "logs/", "GLACIER_IR")
NAMES = ("13-50-00", "14-05-00", "14-20-00", "23-40-00")
CONTENT = {f"logs/2026/02/16/{name[:2]}/x-1-2026-02-16-{name}-id": name.encode() * 50 for name in NAMES}


class Killed(BaseException):
    """As by kill -9: nobody catches it."""


class Kill(Struct):
    """Ends everything at one call of many: before it, or after it has taken effect."""

    at: int = -1
    after: bool = False
    calls: int = 0

    def around(self, call: Callable[..., Any], *arguments: Any) -> Any:
        number, self.calls = self.calls, self.calls + 1
        if number == self.at and not self.after:
            raise Killed
        result = call(*arguments)
        if number == self.at:
            raise Killed
        return result


class Killable:
    """A store, any call of which may be the last."""

    def __init__(self, store: Any, kill: Kill) -> None:
        self._store, self._kill = store, kill

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found) or name == "name_of":
            return found
        return lambda *arguments: self._kill.around(found, *(_plain(each) for each in arguments))


def _plain(argument: Any) -> Any:
    return argument._store if isinstance(argument, Killable) else argument


class Scene(Struct):
    """Two places, a state store, and what is known of the windows."""

    journal: State_Store = field(default_factory=lambda: State_Store("memory://"))
    places: dict[str, Memory_Archive] = field(
        default_factory=lambda: {"hot": Memory_Archive(), "cold": Memory_Archive()}
    )
    final: Callable[[int], bool] = lambda window_ms: True
    verified: Callable[[Sequence[int]], Collection[int]] = lambda windows: windows
    asked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, store in self.places.items():
            store.place = name  # type: ignore[misc]
        for key, content in CONTENT.items():
            self.places["hot"].put(key, content)

    def verify(self, windows: Sequence[int]) -> Collection[int]:
        self.asked += windows
        return self.verified(windows)

    def run(self, way: Way = TO_COLD, kill: Kill | None = None) -> Outcome:
        """As the command does it: what was left open, then day by day."""
        kill = kill or Kill()
        archiver = Archiver(
            Killable(self.journal, kill), way, lambda place: Killable(self.places[place], kill), SETTLE_MS
        )
        drive(archiver.resume_steps())
        for day, files in by_day(Archive(self.places["hot"], PLACES, SETTLE_MS).files_before(UNTIL_MS)):
            files = [file for file in files if file.storage_class != way.storage_class]
            if not files:
                continue
            proven = drive(archiver.proven_steps(files[0].oldest.from_ms // DAY_MS * DAY_MS))
            plan = drive(plan_steps(files, UNTIL_MS, SETTLE_MS, Knowledge(self.final, self.verify, proven)))
            drive(archiver.archive_steps(day, plan.move, AT_MS))
        return archiver.outcome

    def content(self, place: str) -> dict[str, bytes]:
        return {key: data for key, (_, data) in self.places[place]._objects.items() if "_manifests" not in key}

    def classes(self) -> set[str]:
        return {stored.storage_class for stored, _ in self.places["hot"]._objects.values()}

    def manifests(self) -> Iterator[str]:
        return (item.key for item in self.journal.list(MANIFESTS_PREFIX) if not item.key.endswith(DONE))


def moved(key: str) -> str:
    return f"old/{key}"


ALL_MOVED = {moved(key): content for key, content in CONTENT.items()}


def files_of(scene: Scene) -> list[Any]:
    return list(Archive(scene.places["hot"], PLACES, SETTLE_MS).files_before(UNTIL_MS))


def test_files_go_to_another_prefix_with_a_manifest_beside_them_and_in_the_state_store() -> None:
    scene = Scene()
    outcome = scene.run()
    assert (outcome.files, outcome.failed) == (len(CONTENT), {})
    assert scene.content("hot") == {}
    assert scene.content("cold") == ALL_MOVED
    (key,) = scene.manifests()
    data = scene.journal.get(key)
    manifest, moves = understood(data, key)
    beside = scene.places["cold"]._objects[f"old/logs/_manifests/{manifest.manifest}.jsonl"][1]
    assert beside == data
    assert {move.file: move.to for move in moves} == {f"memory://{key}": f"memory://{moved(key)}" for key in CONTENT}
    assert manifest.way == TO_COLD
    assert moves[1].windows == ("2026-02-16T13:30:00Z", "2026-02-16T14:00:00Z")
    assert all(move.sha256 and move.size_bytes for move in moves)


def test_files_stay_where_they_are_in_another_storage_class() -> None:
    scene = Scene()
    assert scene.run(TO_CLASS).files == len(CONTENT)
    assert scene.content("hot") == CONTENT
    assert scene.classes() == {"GLACIER_IR"}
    assert scene.run(TO_CLASS).files == 0


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after it"])
@pytest.mark.parametrize("way", [TO_COLD, TO_CLASS], ids=["to another place", "to another class"])
def test_killed_at_every_call_nothing_is_lost_and_the_next_run_finishes(way: Way, after: bool) -> None:
    undisturbed = Kill()
    Scene().run(way, undisturbed)
    assert undisturbed.calls > 20
    for at in range(undisturbed.calls):
        scene = Scene()
        with pytest.raises(Killed):
            scene.run(way, Kill(at, after))
        there = {key.removeprefix("old/") for place in ("hot", "cold") for key in scene.content(place)}
        assert there == CONTENT.keys(), f"lost at call {at}"
        scene.verified = lambda windows: ()  # of files that are gone in part nobody can count anew
        if not list(scene.manifests()):
            scene.verified = lambda windows: windows
        assert not scene.run(way).failed, f"killed at call {at}"
        assert (scene.content("hot"), scene.content("cold")) == ((CONTENT, {}) if way.in_place else ({}, ALL_MOVED)), (
            f"killed at call {at}"
        )
        assert scene.classes() <= {"GLACIER_IR"}
        assert all(scene.journal.get(key + DONE) is not None for key in scene.manifests())


def test_only_files_go_all_of_whose_windows_are_old_final_and_verified() -> None:
    files = files_of(Scene())
    first, second, third, last = (file.key for file in files)
    everything = range(DAY - DAY_MS, DAY + 2 * DAY_MS, WINDOW_MS)
    half_past_two = DAY + 14 * HOUR_MS + WINDOW_MS

    def reasons(until_ms: int = UNTIL_MS, final: Any = everything, verified: Any = everything) -> dict[str, str]:
        plan = plan_archive(files, until_ms, SETTLE_MS, final, lambda window_ms, file: window_ms in verified)
        return {left.file.key: left.reason for left in plan.left} | {file.key: "" for file in plan.move}

    assert set(reasons().values()) == {""}
    without = set(everything) - {half_past_two}
    assert reasons(final=without) == {first: "", second: "", third: NOT_FINAL, last: ""}
    assert reasons(verified=without) == {first: "", second: "", third: NOT_VERIFIED, last: ""}
    assert reasons(half_past_two) == {first: "", second: "", third: YOUNG, last: YOUNG}


def test_a_file_too_large_for_one_copy_is_left_by_name() -> None:
    (file, *_) = files_of(Scene())
    large = replace(file, size_bytes=COPY_BYTES_MAX + 1)
    plan = plan_archive([large], UNTIL_MS, SETTLE_MS, range(UNTIL_MS), lambda window_ms, file: True)
    assert [left.reason for left in plan.left] == [TOO_LARGE]


def test_only_windows_of_files_that_may_go_otherwise_are_counted_anew() -> None:
    scene = Scene(final=lambda window_ms: window_ms < DAY + 14 * HOUR_MS + WINDOW_MS, verified=lambda windows: ())
    scene.run()
    assert scene.asked == [DAY + 13 * HOUR_MS + WINDOW_MS, DAY + 14 * HOUR_MS]
    assert scene.content("hot") == CONTENT


def test_a_window_that_was_verified_stays_so_when_files_of_it_are_gone() -> None:
    """Its first file went; the other waits for its second window, and then its first cannot be counted any more."""
    scene = Scene(final=lambda window_ms: window_ms < DAY + 14 * HOUR_MS + WINDOW_MS)
    scene.run()
    assert len(scene.content("hot")) == 2
    scene.final, scene.asked = (lambda window_ms: True), []
    scene.run()
    assert DAY + 14 * HOUR_MS not in scene.asked
    assert scene.content("cold") == ALL_MOVED


def test_a_file_that_landed_after_its_windows_were_verified_is_not_taken_for_verified() -> None:
    scene = Scene()
    scene.run()
    late = "logs/2026/02/16/14/x-1-2026-02-16-14-06-00-id"
    scene.places["hot"].put(late, b"late", AT_MS + 1)
    scene.verified = lambda windows: ()
    assert scene.run().files == 0
    assert set(scene.content("hot")) == {late}


def test_what_is_in_the_way_is_not_written_over_and_keeps_no_other_file() -> None:
    scene = Scene()
    key = next(iter(CONTENT))
    scene.places["cold"].put(moved(key), b"another")
    outcome = scene.run()
    assert list(outcome.failed) == [f"memory://{key}"]
    assert "another file" in outcome.failed[f"memory://{key}"]
    assert scene.content("hot") == {key: CONTENT[key]}
    assert scene.content("cold")[moved(key)] == b"another"


def test_a_copy_that_is_not_like_the_original_lets_go_of_nothing() -> None:
    scene = Scene()
    cold = scene.places["cold"]
    put = cold.put
    cold.put = lambda key, content, *more: put(key, content[:-1] if "_manifests" not in key else content, *more)  # type: ignore[method-assign]
    outcome = scene.run()
    assert set(outcome.failed) == {f"memory://{key}" for key in CONTENT}
    assert scene.content("hot") == CONTENT


def test_a_store_that_does_not_answer_leaves_the_manifest_open_for_the_next_run() -> None:
    scene = Scene()
    scene.places["cold"].fault = lambda call, key: Store_Unavailable("busy") if call == "copy" else None
    assert set(scene.run().failed.values()) == {"busy"}
    assert scene.content("hot") == CONTENT
    scene.places["cold"].fault = lambda call, key: None
    scene.verified = lambda windows: ()
    assert not scene.run().failed
    assert scene.content("cold") == ALL_MOVED


def test_a_file_that_is_forbidden_is_named_and_the_others_go() -> None:
    scene = Scene()
    denied = next(iter(CONTENT))
    error: SA_Stream_Error = Source_Error("AccessDenied")
    scene.places["hot"].fault = lambda call, key: error if (call, key) == ("read", denied) else None
    assert scene.run().failed == {f"memory://{denied}": "AccessDenied"}
    assert set(scene.content("hot")) == {denied}


def test_two_names_of_one_place_are_found_out_before_anything_goes() -> None:
    scene = Scene()
    scene.places["alias"] = scene.places["hot"]
    with pytest.raises(Config_Error, match=r"is where the files are already"):
        scene.run(Way("hot", "logs/", "alias", "logs/"))
    assert dict(scene.places["hot"]._objects).keys() == CONTENT.keys()
    assert list(scene.manifests()) == []
    assert scene.run().files == len(CONTENT)


def test_a_file_in_a_folder_that_is_gone_with_no_copy_keeps_no_manifest_open(tmp_path: Path) -> None:
    files = Folder_Archive(tmp_path)
    files.put("hot/a", b"1")
    stored = files.head("hot/a")
    assert stored is not None
    files.delete(stored)
    move = Move("hot/a", "cold/a", "a", 1, stored.etag, "", ())
    why, again = carried_out(move, Way("", "hot/", "", "cold/"), files, files)
    assert "is not there any more" in why
    assert not again
