"""Run a command that may not ask for priority: `python -m benchmarks.without_realtime WORDS`.

As on a machine whose owner has permitted nothing: the limit is zero, and for root, whom no limit
binds, the capability is dropped before the command starts.
"""

import ctypes
import os
import resource
import sys

_PR_CAPBSET_DROP = 24  # prctl(2)
_CAP_SYS_NICE = 23  # capabilities(7)


def main() -> None:
    """Give the permission up and become the command."""
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_SYS_NICE, 0, 0, 0)
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
