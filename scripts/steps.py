"""Run another command of this project as a step of this one, and take it along at the end.

INT, TERM and HUP of this process ask the step to stop, so that it releases its arms and writes its
checkpoint; SIGKILL of this process makes the kernel ask the same.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from robot.parent_death import die_with_parent
from scripts.exit_codes import INTERRUPTED
from scripts.stopping import stop_on_signals

STOP_S = 15.0  # for a step to end by itself: the slowest writes a checkpoint
_POLL_S = 0.1
_STARTER = "SO101_STEP_OF"  # process id of the command whose step this one is


def run_step(words: Sequence[str]) -> int:
    """Run `python -m scripts WORDS`; returns its exit code, INTERRUPTED when asked to stop.

    The step asks nobody, and gets a process group of its own: Ctrl-C in a terminal reaches it
    once, from here, for a second one would interrupt its stopping.
    """
    with stop_on_signals() as stop:
        step = subprocess.Popen(
            [sys.executable, "-m", "scripts", *words],
            stdin=subprocess.DEVNULL,
            process_group=0,
            env={**os.environ, _STARTER: str(os.getpid())},
        )
        try:
            while not stop():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = step.wait(_POLL_S)
                    return code if code >= 0 else 128 - code  # by a signal: as a shell says it
        finally:
            _end(step)
    return INTERRUPTED


def end_with_starter() -> None:
    """In a step: ask to be stopped (SIGTERM) when the command that started it dies."""
    starter = os.environ.pop(_STARTER, "")  # not for the processes that the step starts itself
    if starter.isdigit():
        die_with_parent(int(starter))


def _end(step: "subprocess.Popen[bytes]") -> None:
    """Ask once and wait; who asks again is passed on; kill what does not listen."""
    if step.poll() is not None:
        return
    step.terminate()
    deadline_s = time.monotonic() + STOP_S
    while step.poll() is None:
        try:
            step.wait(max(0.0, deadline_s - time.monotonic()))
        except KeyboardInterrupt:
            step.terminate()
        except subprocess.TimeoutExpired:
            step.kill()
            step.wait()
