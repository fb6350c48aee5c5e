"""A program: a session that drives with the leader until it is told to stop, or killed.

`control_session.py RIG`: prints "driving CONTROL_PID GUARD_PID", and at the end how it ended.
"""

import os
import signal
import sys
from pathlib import Path

from robot.control_client import start_control
from robot.errors import So101Error
from robot.loop import Tick
from robot.run_folder import open_run_folder


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Announcer:
    """Says once that ticks come."""

    def __init__(self, line: str) -> None:
        self.line = line

    def on_tick(self, tick: Tick) -> None:
        if tick.index == 50 and tick.phase == "drive":
            say(self.line)


def main(rig: str) -> None:
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stops.append(number))
    with (
        open_run_folder("bench") as folder,
        start_control(Path(rig), source="leader", run_folder=folder.path) as control,
    ):
        control.torque_on()
        announcer = Announcer(f"driving {control.pid} {control.facts.guard_pid} {folder.path}")
        try:
            torque = control.drive(listeners=[announcer], should_stop=lambda: bool(stops))
            say(f"stopped: {torque}")
        except So101Error as error:
            say(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)
