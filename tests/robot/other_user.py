"""Another user than root, who may do everything: for tests of what is kept from others."""

import os
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager

NOBODY = 65534


@contextmanager
def as_nobody() -> Generator[None]:
    """Look at files and devices as the user nobody; where tests do not run as root, as oneself."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextmanager
def holder(path: str, *, is_nobody: bool = False) -> Generator[int]:
    """Let another program have a device open, without a lock and without exclusive mode.

    Yields its process id. It is nobody's child: a process takes its children for its own.
    """
    keep = 'sh -c \'exec 3<>"$0" && echo held && exec sleep 60\' "$0" & echo $!'
    user = NOBODY if is_nobody and os.geteuid() == 0 else None
    shell = subprocess.Popen(
        ["sh", "-c", keep, path],
        stdout=subprocess.PIPE,
        text=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    with shell:
        assert shell.stdout is not None
        first, second = shell.stdout.readline().strip(), shell.stdout.readline().strip()
        pid = int(second if first == "held" else first)
        try:
            yield pid
        finally:
            os.kill(pid, signal.SIGKILL)
            _wait_for_the_end(pid)


def _wait_for_the_end(pid: int) -> None:
    """Wait until an orphan's handles are closed."""
    for _ in range(200):
        try:
            if not os.listdir(f"/proc/{pid}/fd"):
                return
        except OSError:
            return
        time.sleep(0.01)
