"""Make this process real-time, as far as the system lets it, and say what it did not let.

Called once everything is set up: threads that exist by then (ZeroMQ's) keep their ordinary
priority. Nothing here is needed for the loop to work; it decides how late a tick may be on a busy
machine.
"""

import ctypes
import gc
import os
import resource
import signal
from types import FrameType

PRIORITY = 80
SPIN_LIMIT_US = 500_000  # of processor time without once waiting: then it is a defect that spins
PERMISSION = (
    "to permit it, put two lines into /etc/security/limits.d/90-so101.conf and log in again:\n"
    "  {user} - rtprio 99\n"
    "  {user} - memlock unlimited"
)

_MCL_CURRENT, _MCL_FUTURE = 1, 2  # mlockall(2)
_PR_SET_TIMERSLACK = 29  # prctl(2); 50 us by default
_RLIMIT_RTTIME = 15  # getrlimit(2), Linux; the resource module has no name for it


def go_realtime() -> tuple[str, ...]:
    """Set this thread up for the control loop; returns one line for each thing granted or not."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    lines = [_schedule(), _lock_memory(libc)]
    if any("not granted" in line for line in lines):
        user = os.environ.get("USER") or str(os.getuid())
        lines.append(PERMISSION.format(user=user))
    gc.collect()
    gc.freeze()
    gc.disable()  # what forms cycles now is collected between drives, see `collect_garbage`
    return tuple(lines)


def collect_garbage() -> None:
    """Collect what a drive has left; only while torque is off, for it takes milliseconds."""
    gc.collect()
    gc.freeze()


def _schedule() -> str:
    """Ask for SCHED_FIFO; children (the guard) start ordinary."""
    # A spin under FIFO would take a small machine's processor for good: after this much time it
    # becomes an ordinary process again, and the guard still watches it.
    signal.signal(signal.SIGXCPU, _become_ordinary)
    try:
        hard = resource.getrlimit(_RLIMIT_RTTIME)[1]
        resource.setrlimit(_RLIMIT_RTTIME, (SPIN_LIMIT_US, hard))
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(PRIORITY))
    except (PermissionError, ValueError) as error:
        return f"real-time priority: not granted ({error})"
    return f"real-time priority: granted (SCHED_FIFO {PRIORITY})"


def _lock_memory(libc: ctypes.CDLL) -> str:
    """Keep this process in memory.

    Only without a limit: under one, memory asked for later would be refused instead of paged.
    """
    soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if soft != resource.RLIM_INFINITY and os.geteuid() != 0:
        return f"memory locking: not granted (at most {soft // 1024} kB)"
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) != 0:
        return f"memory locking: not granted ({os.strerror(ctypes.get_errno())})"
    return "memory locking: granted"


def _become_ordinary(_number: int, _frame: FrameType | None) -> None:
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
