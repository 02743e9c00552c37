"""Ties a process to the one that started it: whoever is killed, nobody is left behind. Standard library only.

As a program, `python -I -S tied.py PID COMMAND…` becomes the command, tied to its parent PID.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent_pid: int) -> None:
    """SIGKILL for this process when the thread that started it ends. Linux only; elsewhere nothing happens."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it has gone already
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
