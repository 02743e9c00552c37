"""How many cores may be used: what the scheduler and the container allow."""

import os
from pathlib import Path

import pytest

from consumer.process.cores import cores_allowed

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("said", "most"), [("max 100000", HERE), ("100000 100000", 1), ("50000 100000", 1), ("?", HERE)]
)
def test_a_container_with_a_share_of_the_time_has_fewer(tmp_path: Path, said: str, most: int) -> None:
    (tmp_path / "cpu.max").write_text(said)
    assert cores_allowed(tmp_path) == min(HERE, most)


def test_the_older_version_of_cgroups_says_it_in_two_files(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    for name, value in (("quota", "200000"), ("period", "100000")):
        (tmp_path / "cpu" / f"cpu.cfs_{name}_us").write_text(value)
    assert cores_allowed(tmp_path) == min(HERE, 2)
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    assert cores_allowed(tmp_path) == HERE


def test_without_any_it_is_what_the_scheduler_says(tmp_path: Path) -> None:
    assert cores_allowed(tmp_path / "absent") == HERE
