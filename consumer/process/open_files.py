"""How many files and sockets this process may have open: three a shard behind the KCL, two in the local runner."""

import resource

A_SHARD = 3
OF_THE_PROGRAM = 100  # stores, HTTP, libraries
WANTED = 65_536  # no more, where there is no limit at all: some libraries make a table of all that there could be


def allow_most() -> int:
    """Raise the soft limit to the hard one, as far as that is of use; the limit from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return WANTED if soft == resource.RLIM_INFINITY else soft


def shards_allowed(open_files: int) -> int:
    """How many shards one worker can read with so many."""
    return max(0, open_files - OF_THE_PROGRAM) // A_SHARD
