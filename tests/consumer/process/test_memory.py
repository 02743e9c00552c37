"""How much memory there is, how much is taken, and what follows."""

import os
from pathlib import Path

import numpy as np
import pytest

from consumer.process.memory import (
    CALM_MS,
    JVM_BYTES,
    LIMIT_BYTES_LEAST,
    MIB,
    OK,
    PAUSE,
    SHRINK,
    SHRINK_EVERY_MS,
    Pressure,
    memory_limit_bytes,
    resident_bytes,
)
from sa_stream.timing import Moment

LIMIT = 1_000 * MIB


def machine(root: Path, memory_gib: int, cgroups: str, **limits: str) -> tuple[Path, Path]:
    """Where cgroups and /proc are on a machine like this; limits are files, with __ for /."""
    proc, cgroup = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal:       {memory_gib << 20} kB\nMemFree: 1 kB\n")
    (proc / "self" / "cgroup").write_text(cgroups)
    for name, text in limits.items():
        file = cgroup / name.replace("__", "/").replace("_max", ".max")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return cgroup, proc


def test_the_setting_is_the_limit_whatever_the_machine_has() -> None:
    assert memory_limit_bytes(300, jvm=True) == 300 * MIB


@pytest.mark.parametrize(
    ("cgroups", "limits"),
    [
        ("0::/\n", {"memory_max": str(2_000 * MIB)}),
        ("0::/a/b\n", {"a__memory_max": str(2_000 * MIB), "a__b__memory_max": "max"}),
        ("0::/a/b\n", {"a__memory_max": str(2_000 * MIB), "a__b__memory_max": str(3_000 * MIB)}),
        ("0::/../outside\n", {"memory_max": str(2_000 * MIB)}),
    ],
)
def test_a_container_gives_its_limit_less_a_margin_and_the_jvm(
    tmp_path: Path, cgroups: str, limits: dict[str, str]
) -> None:
    cgroup, proc = machine(tmp_path, 16, cgroups, **limits)
    assert memory_limit_bytes(0, False, cgroup, proc) == 1_800 * MIB
    assert memory_limit_bytes(0, True, cgroup, proc) == 1_800 * MIB - JVM_BYTES


def test_the_older_version_of_cgroups_is_understood_too(tmp_path: Path) -> None:
    cgroup, proc = machine(tmp_path, 16, "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n")
    (cgroup / "memory").mkdir(parents=True)
    (cgroup / "memory" / "memory.limit_in_bytes").write_text(f"{1_000 * MIB}\n")
    assert memory_limit_bytes(0, False, cgroup, proc) == 900 * MIB


@pytest.mark.parametrize("limit", ["max", str(1 << 62)])
def test_without_a_limit_it_is_half_of_the_machine(tmp_path: Path, limit: str) -> None:
    cgroup, proc = machine(tmp_path, 16, "0::/\n", memory_max=limit)
    assert memory_limit_bytes(0, False, cgroup, proc) == 8 << 30
    assert memory_limit_bytes(0, True, cgroup, proc) == (8 << 30) - JVM_BYTES


def test_a_container_that_is_too_small_does_not_stop_before_it_began(tmp_path: Path) -> None:
    cgroup, proc = machine(tmp_path, 16, "0::/\n", memory_max=str(512 * MIB))
    assert memory_limit_bytes(0, True, cgroup, proc) == LIMIT_BYTES_LEAST


def test_there_is_a_limit_on_any_system(tmp_path: Path) -> None:
    assert memory_limit_bytes(0, False, tmp_path, tmp_path) >= LIMIT_BYTES_LEAST


def test_what_is_resident_grows_with_what_is_held(tmp_path: Path) -> None:
    before = resident_bytes()
    held = np.ones(300 * MIB, np.uint8)  # so much that what other tests let go meanwhile does not matter
    assert 200 * MIB < resident_bytes() - before < 400 * MIB
    assert abs(resident_bytes(tmp_path) - resident_bytes()) < 20 * MIB  # as `ps` says
    assert held[-1] == 1


def test_nobody_knows_where_there_is_neither_proc_nor_ps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    assert resident_bytes(tmp_path) == 0


def test_the_level_rises_at_once_and_falls_only_from_far_below_and_after_a_while() -> None:
    pressure = Pressure(LIMIT)
    story = [
        (0, 790, OK),
        (1, 800, SHRINK),
        (2, 790, SHRINK),
        (3, 919, SHRINK),
        (4, 920, PAUSE),
        (5, 800, PAUSE),
        (6, 700, PAUSE),
        (7, 699, PAUSE),
        (6 + CALM_MS - 1, 600, PAUSE),
        (6 + CALM_MS, 600, OK),
        (6 + CALM_MS + 1, 799, OK),
        (6 + CALM_MS + 2, 999, PAUSE),
        (6 + CALM_MS + 3, 1_200, PAUSE),
    ]
    for now_ms, resident_mib, level in story:
        assert pressure.look(resident_mib * MIB, Moment(now_ms)) == level == pressure.level
    assert str(pressure) == "memory is at 1200 of 1000 MiB"


def test_memory_that_hovers_about_a_mark_does_not_make_the_level_flap() -> None:
    pressure = Pressure(LIMIT)
    levels = [pressure.look((790 if n % 2 else 810) * MIB, Moment(n * 1_000)) for n in range(100)]
    assert set(levels) == {SHRINK}


def test_windows_are_shrunk_one_at_a_time_so_that_the_effect_can_be_seen() -> None:
    pressure = Pressure(LIMIT)
    assert not pressure.shrink_due(Moment(0))
    pressure.look(850 * MIB, Moment(0))
    due = [now_ms for now_ms in range(1_000) if pressure.shrink_due(Moment(now_ms))]
    assert due == list(range(0, 1_000, SHRINK_EVERY_MS))
