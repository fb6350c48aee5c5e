"""The incumbent, run as it is: the only module of the benchmarks that imports lerobot.

`python -m benchmarks.lerobot_side teleop|record OPTIONS` is LeRobot's own command with LeRobot's
own options; `bus` serves its `sync_read` to the bus comparison. Always a process of its own:
nothing of it is ever loaded where this project's loop runs.
"""

# pyright: standard
# lerobot is published without types; what is taken from it is typed where it enters.

import json
import os
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from benchmarks.bus_block import Reader, serve_blocks
from benchmarks.child import begin_child
from robot.joints import JOINTS
from robot.parent_death import die_with_parent


@contextmanager
def lerobot_bus(device: str, calibration: Path) -> Generator[Reader]:
    """Read through FeetechMotorsBus.sync_read, in degrees, as SOFollower.get_observation does."""
    from lerobot.motors import Motor, MotorCalibration, MotorNormMode
    from lerobot.motors.feetech import FeetechMotorsBus

    motors = {
        name: Motor(
            number,
            "sts3215",
            MotorNormMode.RANGE_0_100 if name == "gripper" else MotorNormMode.DEGREES,
        )
        for number, name in enumerate(JOINTS, start=1)
    }
    entries = json.loads(calibration.read_text())
    bus = FeetechMotorsBus(
        device, motors, {name: MotorCalibration(**entry) for name, entry in entries.items()}
    )
    bus.connect()
    try:
        yield lambda: list(bus.sync_read("Present_Position").values())
    finally:
        bus.disconnect(disable_torque=False)


def run_command(name: str, options: Sequence[str]) -> None:
    """Run LeRobot's own command in this process."""
    sys.argv = [f"lerobot-{name}", *options]
    signal.signal(signal.SIGUSR1, _lose_cameras)
    if name == "teleop":
        from lerobot.scripts import lerobot_teleoperate

        lerobot_teleoperate.main()
    else:
        from lerobot.scripts import lerobot_record

        lerobot_record.main()


def _lose_cameras(_number: int, _frame: FrameType | None) -> None:
    """Let every camera report what OpenCVCamera reports of an unplugged one: not connected."""
    from lerobot.cameras.zmq import ZMQCamera

    setattr(ZMQCamera, "is_connected", property(lambda _: False))  # noqa: B010 - no setter to call


def main() -> None:
    """Do what the first word says."""
    what, *words = sys.argv[1:]
    if what == "bus":
        begin_child()
        serve_blocks(partial(lerobot_bus, words[0], Path(words[1])))
    else:
        die_with_parent(os.getppid())
        run_command(what, words)


if __name__ == "__main__":
    main()
