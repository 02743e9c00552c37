"""`make setup`: finds a Python that works, does nothing twice, and mends what was left half done. A pip that notes what
it was asked for stands in for the real one, which CI's own set-up has used by the time this runs."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
SYSTEM_PATH = "/usr/bin:/bin"
PIP = """
import pathlib, sys, sysconfig
with open("pip-calls", "a") as calls:
    print(*sys.argv[1:], file=calls)
if "-e" in sys.argv:
    pathlib.Path(sysconfig.get_path("purelib"), "project.pth").write_text(str(pathlib.Path.cwd()))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what setup reads, with empty requirements, in a folder with a space in its name."""
    copy = tmp_path / "a project"
    for folder in ("scripts", "consumer", "requirements", "sa_stream/native"):
        (copy / folder).mkdir(parents=True)
    for name in ("setup", "build_native.py"):
        shutil.copy(PROJECT / "scripts" / name, copy / "scripts")
    for name in ("Makefile", "pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, copy)
    (copy / "consumer" / "__init__.py").touch()
    (copy / "sa_stream" / "native" / "kernel.c").write_text("int one(void) { return 1; }\n")
    for name in ("build.txt", "runtime.txt", "runtime.in", "dev.txt", "native.txt"):
        (copy / "requirements" / name).touch()
    (tmp_path / "lent" / "pip").mkdir(parents=True)
    (tmp_path / "lent" / "pip" / "__init__.py").touch()
    (tmp_path / "lent" / "pip" / "__main__.py").write_text(PIP)
    return copy


def fake_python(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def setup(project: Path, *arguments: str, path: str = os.environ["PATH"], without: str = "", **variables: str):
    env = {
        "PATH": path,
        "HOME": str(project),
        "PYTHONPATH": str(project.parent / "lent"),
        "PIP_ONLY": "1",
        "CI": "true",
        **variables,
    }
    env.pop(without, None)
    command = ["make", "-s", "setup", *arguments]
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def real_python() -> str:
    """The interpreter that this environment was made of."""
    return str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}")


def test_without_a_suitable_python_one_sentence_says_which_is_missing(project: Path, tmp_path: Path) -> None:
    bin_folder = tmp_path / "bin"
    for name in ("python3.12", "python3.13", "python3.14", "python3", "python", "uv"):
        fake_python(bin_folder, name, "echo 'version not installed' >&2; exit 127")
    result = setup(project, path=f"{bin_folder}:{SYSTEM_PATH}")
    assert result.returncode != 0
    first, *_ = result.stderr.splitlines()
    assert first.startswith("error: Python 3.12 or newer (with venv and ensurepip) is missing: install python3.12")
    assert not (project / ".venv").exists()


def test_a_python_that_was_named_and_does_not_fit_is_refused_by_name(project: Path, tmp_path: Path) -> None:
    fake_python(tmp_path / "bin", "old", "exit 1")
    result = setup(project, f"PYTHON={tmp_path}/bin/old")
    assert result.returncode != 0
    assert f"error: PYTHON={tmp_path}/bin/old is not a Python 3.12 or newer" in result.stderr


def test_setup_passes_over_a_broken_shim_does_nothing_twice_and_mends_what_is_broken(
    project: Path, tmp_path: Path
) -> None:
    shims = tmp_path / "bin"
    fake_python(shims, "python3.12", "echo 'version not installed' >&2; exit 127")
    fake_python(shims, "python3", f'exec {real_python()} "$@"')
    path = f"{shims}:{SYSTEM_PATH}"

    first = setup(project, path=path)
    assert first.returncode == 0, first.stderr
    assert "setup: done in" in first.stdout
    installs = [call for call in (project / "pip-calls").read_text().splitlines() if call.startswith("install ")]
    assert installs[:2] == [
        "install -q --disable-pip-version-check --require-hashes -r requirements/build.txt -r requirements/runtime.txt",
        "install -q --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .",
    ]
    (compiler,) = installs[2:]
    assert "--require-hashes --only-binary=:all:" in compiler

    began = time.monotonic()
    again = setup(project, path=path)
    assert time.monotonic() - began < 0.5
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")

    (project / "requirements" / "runtime.txt").write_text("# another pin\n")
    changed = setup(project, path=path)
    assert "setup: installing" in changed.stdout
    assert "setup: .venv with" not in changed.stdout

    (project / ".venv" / ".unfinished").touch()  # as an interrupted run leaves it
    moved = project.with_name("moved")
    project.rename(moved)
    assert "setup: .venv with" in setup(moved, path=path).stdout
    assert setup(moved, path=path).stdout == ""


def test_a_link_to_the_environment_of_another_folder_is_refused_and_that_one_stays_whole(
    project: Path, tmp_path: Path
) -> None:
    others = tmp_path / "another project" / ".venv"
    (others / "bin").mkdir(parents=True)
    fake_python(others / "bin", "python", "exit 1")
    (project / ".venv").symlink_to(others)
    before = sorted(project.rglob("*"))
    result = setup(project, f"PYTHON={real_python()}")
    assert result.returncode != 0
    first, *_ = result.stderr.splitlines()
    assert first.startswith(f"error: .venv is a symbolic link to {others}: remove the link")
    assert [path.relative_to(others).as_posix() for path in sorted(others.rglob("*"))] == ["bin", "bin/python"]
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize("name", ["cost $x", "{a}", "one:two", 'say "hi"', "back\\slash", "a`b"])
def test_a_folder_in_which_nothing_can_be_installed_is_refused_by_name(project: Path, name: str) -> None:
    there = project.rename(project.with_name(name))
    result = setup(there, f"PYTHON={real_python()}")
    assert result.returncode != 0
    assert f"error: the folder {there} has one of" in result.stderr
    assert not (there / ".venv").exists()


def test_letters_that_the_locale_lacks_are_refused_before_anything_is_installed(project: Path) -> None:
    there = project.rename(project.with_name("projét"))
    result = setup(there, f"PYTHON={real_python()}", LC_ALL="C")
    assert result.returncode != 0
    assert f"error: the folder {there} has letters in its name that LC_ALL=C lacks" in result.stderr
    assert not (there / ".venv").exists()


def test_it_takes_no_home(project: Path, tmp_path: Path) -> None:
    fake_python(tmp_path / "bin", "python3.12", f'exec {real_python()} "$@"')
    result = setup(project, path=f"{tmp_path / 'bin'}:{SYSTEM_PATH}", without="HOME")
    assert result.returncode == 0, result.stderr


def test_without_the_compiler_one_sentence_says_so_once_and_everything_else_is_set_up(project: Path) -> None:
    named = f"PYTHON={real_python()}"
    first = setup(project, named)
    assert first.returncode == 0, first.stderr
    (sentence,) = first.stderr.splitlines()
    assert sentence.startswith("setup: the native kernel is not built, as the compiler cannot be had: ")
    assert sentence.endswith("(`make native` tries again)")
    assert setup(project, named).stderr == ""

    (project / "sa_stream" / "native" / "kernel.c").write_text("int two(void) { return 2; }\n")
    changed = setup(project, named)
    assert (changed.returncode, changed.stdout, changed.stderr) == (0, "", f"{sentence}\n")


def test_requirements_are_pinned_with_hashes_and_name_no_index() -> None:
    for name in ("build", "runtime", "kcl", "dev", "native"):
        text = (PROJECT / "requirements" / f"{name}.txt").read_text()
        assert "://" not in text
        assert "--index-url" not in text
        pins = [line for line in text.splitlines() if "==" in line and not line.lstrip().startswith("#")]
        assert pins
        assert all(line.endswith("\\") for line in pins), "every pin is followed by its hashes"
