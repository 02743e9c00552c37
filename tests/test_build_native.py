"""How the native kernel gets from its source into a checkout and a wheel. Nothing is fetched or compiled here: set-up
does that, and what it left is looked at."""

import importlib.util
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.build_native import (
    FOLDER,
    LIBRARIES,
    is_up_to_date,
    libraries_of,
    reason,
    recipe,
    this_machine,
    write_down,
)
from scripts.build_wheels import PLATFORMS, differences, foreign_names, wheel

PLATFORM = "manylinux_2_17_x86_64"


def test_each_machine_has_a_wheel_with_the_libraries_that_the_loader_looks_for() -> None:
    assert {library.name for library in LIBRARIES} == {
        "kernel-linux-x86_64-v3.so",
        "kernel-linux-x86_64-v2.so",
        "kernel-linux-aarch64-base.so",
        "kernel-macos-x86_64-base.dylib",
        "kernel-macos-arm64-base.dylib",
    }
    carried = [library for machine in PLATFORMS.values() for library in libraries_of(*machine)]
    assert sorted(carried, key=LIBRARIES.index) == list(LIBRARIES)


def test_a_library_is_made_anew_when_its_source_its_compiler_or_the_way_it_is_called_changes(tmp_path: Path) -> None:
    libraries = libraries_of("linux", "x86_64")
    for library in libraries:
        (tmp_path / library.name).touch()
    made_of = recipe(b"source", b"pins", b"script")
    assert not is_up_to_date(tmp_path, made_of)
    write_down(tmp_path, made_of, libraries)
    assert is_up_to_date(tmp_path, made_of)
    others = [(b"x", b"pins", b"script"), (b"source", b"x", b"script"), (b"source", b"pins", b"x")]
    assert not any(is_up_to_date(tmp_path, recipe(*other)) for other in others)
    (tmp_path / libraries[0].name).unlink()
    assert not is_up_to_date(tmp_path, made_of)


def test_what_could_not_be_built_is_not_tried_again_and_leaves_no_older_library(tmp_path: Path) -> None:
    (tmp_path / "kernel.c").touch()
    (tmp_path / "kernel-linux-x86_64-v3.so").touch()
    write_down(tmp_path, "recipe", [])
    assert is_up_to_date(tmp_path, "recipe")
    assert {path.name for path in tmp_path.iterdir()} == {"kernel.c", "kernel-built.json"}
    (tmp_path / "kernel-built.json").write_text("{")  # as a full disk leaves it
    assert not is_up_to_date(tmp_path, "recipe")


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("WARNING: slow\nERROR: No matching distribution found for ziglang\n", "No matching distribution found"),
        ("kernel.c:4:10: fatal error: no file\n  ^~~\n1 error generated.\n", "kernel.c:4:10: fatal error: no file"),
        ("it is\nover\n", "over"),
        ("", ""),
    ],
)
def test_of_a_programs_complaints_the_line_that_says_most_is_told(said: str, line: str) -> None:
    assert reason(said).startswith(line)
    assert bool(reason(said)) == bool(line)


def test_a_library_that_was_built_here_asks_for_no_other_and_so_runs_on_every_linux() -> None:
    system, machine = this_machine()
    built = [FOLDER / library.name for library in libraries_of(system, machine)]
    if system != "linux" or not all(path.is_file() for path in built):
        pytest.skip("no library of Linux was built here: `make native` says why")
    assert [foreign_names(path.read_bytes()) for path in built] == [set()] * len(built)


@pytest.mark.skipif(sys.platform != "linux", reason="libraries have another form elsewhere")
def test_a_library_that_asks_for_another_is_found_out() -> None:
    core = importlib.util.find_spec("msgspec._core")
    assert core is not None
    assert core.origin is not None
    asked = foreign_names(Path(core.origin).read_bytes())
    assert {"libc.so.6", "versioned symbols"} <= asked
    assert any(name.startswith("Py") for name in asked)


def test_a_wheel_has_the_libraries_of_its_machine_and_is_the_same_when_it_is_built_again(tmp_path: Path) -> None:
    built = tmp_path / "libraries"
    built.mkdir()
    for library in LIBRARIES:
        (built / library.name).write_text(library.name)
    rounds = []
    for name in ("first", "second"):
        wheel(PLATFORM, built, tmp_path / name)
        rounds.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    (made,) = (tmp_path / "first").iterdir()
    assert made.name.endswith(f"-py3-none-{PLATFORM}.whl")
    assert list(differences(*rounds)) == []
    assert list(differences(rounds[0], {made.name: b"", "other": b""})) == sorted(["other", made.name])
    with zipfile.ZipFile(made) as opened:
        carried = {name for name in opened.namelist() if name.startswith("sa_stream/native/kernel-")}
        assert {opened.read(name).decode() for name in carried} == {name.rpartition("/")[2] for name in carried}
    assert carried == {f"sa_stream/native/{library.name}" for library in libraries_of(*PLATFORMS[PLATFORM])}
