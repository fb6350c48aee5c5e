"""Real-time set-up, each time in a process of its own: it cannot be undone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from robot.realtime import PERMISSION, SPIN_LIMIT_US

pytestmark = pytest.mark.realtime

CHECKOUT = Path(__file__).resolve().parent.parent.parent
NOBODY = 65534


def run(program: str) -> list[str]:
    """Run a program after the set-up; returns the lines it printed."""
    text = "import os, sys, gc, time\nfrom robot.realtime import *\n" + program
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_each_thing_is_said_to_be_granted_or_not_and_garbage_waits() -> None:
    lines = run(
        "print(*go_realtime(), sep='\\n'); print(gc.isenabled(), gc.get_freeze_count() > 0)"
    )

    assert lines[0].startswith("real-time priority: ")
    assert lines[1].startswith("memory locking: ")
    assert lines[-1] == "False True"
    is_all_granted = "not granted" not in lines[0] + lines[1]
    assert (len(lines) == 3) is is_all_granted


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody with fewer rights")
def test_who_may_not_is_told_the_lines_that_permit_it() -> None:
    become_nobody = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))\n"
        f"os.setresuid({NOBODY}, {NOBODY}, {NOBODY}); os.environ['USER'] = 'nobody'\n"
    )

    lines = run(become_nobody + "print(*go_realtime(), sep='\\n')")

    assert lines[0].startswith("real-time priority: not granted")
    assert lines[1] == "memory locking: not granted (at most 64 kB)"
    assert "\n".join(lines[2:]) == PERMISSION.format(user="nobody")


def test_what_spins_becomes_ordinary_again() -> None:
    spin = (
        "lines = go_realtime()\n"
        "before = os.sched_getscheduler(0) & 7\n"
        f"end = time.process_time() + 3 * {SPIN_LIMIT_US} / 1e6\n"
        "while time.process_time() < end: pass\n"
        "print('not granted' in lines[0], before == os.SCHED_FIFO, os.sched_getscheduler(0) & 7)"
    )

    is_refused, was_fifo, policy = run(spin)[0].split()

    assert (is_refused == "True") is (was_fifo == "False")
    assert int(policy) == os.SCHED_OTHER


def test_a_child_of_a_real_time_process_starts_ordinary() -> None:
    child = "import os; print(os.sched_getscheduler(0))"
    lines = run(
        f"go_realtime(); import subprocess; subprocess.run([sys.executable, '-c', {child!r}])"
    )

    assert lines == [str(os.SCHED_OTHER)]
