"""Whether this process may take what libraries of ours ask for, and how it shows when it may not. Asked before they are
loaded, so this imports nothing heavy."""

import os
import resource

from sa_stream.errors import Config_Error

ADDRESS_SPACE_BYTES = 620 << 20  # below it, libraries of ours panic: 400 MB was too little, 700 enough, with two cores
ADDRESS_SPACE_BYTES_A_CORE = 16 << 20  # stacks of the threads that they start for each
SIGNS_OF_NO_MEMORY = (
    *("failed to map segment", "Cannot allocate memory", "can't start new thread"),
    "can't spawn worker thread",
)


def require_address_space() -> None:
    """Raises Config_Error for a limit under which libraries are known to panic, long before memory is used up."""
    limit_bytes = resource.getrlimit(resource.RLIMIT_AS)[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    needed_bytes = ADDRESS_SPACE_BYTES + cores * ADDRESS_SPACE_BYTES_A_CORE
    if limit_bytes != resource.RLIM_INFINITY and limit_bytes < needed_bytes:
        raise Config_Error(
            f"The address space of this process is limited to {limit_bytes >> 20} MiB (ulimit -v), and it needs "
            f"{needed_bytes >> 20} MiB, most of which it never touches: lift that limit (ulimit -v unlimited), and "
            "limit the memory of its container instead"
        )


def short_of_memory(error: BaseException) -> str | None:
    """A sentence, if it is memory that this program has not been given."""
    is_known = isinstance(error, MemoryError) or any(sign in str(error) for sign in SIGNS_OF_NO_MEMORY)
    if not is_known:
        return None
    limit_bytes = resource.getrlimit(resource.RLIMIT_AS)[0]
    limit = "" if limit_bytes == resource.RLIM_INFINITY else f", or lift ulimit -v ({limit_bytes >> 20} MiB now)"
    return f"There is not enough memory to go on ({str(error)[:200]}): give this process or its container more{limit}"
