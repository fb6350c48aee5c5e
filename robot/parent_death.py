"""Die with the parent: the kernel's promise that no child outlives a killed command.

Linux only (prctl(2), PR_SET_PDEATHSIG = 1); elsewhere children notice the end of their pipe.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int, signal_number: int = signal.SIGTERM) -> None:
    """Ask for `signal_number` when the thread that started this process ends.

    Ends now if it has ended already.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:  # it died before the promise was made
        os.kill(os.getpid(), signal_number)
