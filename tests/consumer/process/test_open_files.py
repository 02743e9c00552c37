"""How many files the daemon may open."""

import subprocess
import sys


def allowed(soft: int, hard: int) -> list[str]:
    """What a process with these limits says that it may open, and what its limit is then."""
    program = (
        "import resource; from consumer.process.open_files import allow_most, shards_allowed; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); most = allow_most(); "
        "print(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0], shards_allowed(most))"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    assert allowed(256, 1_024) == ["1024", "1024", "308"]


def test_a_limit_that_is_as_high_as_it_may_be_stays() -> None:
    assert allowed(512, 512) == ["512", "512", "137"]
