"""A program: two arms of emulated servos on ptys, whose shafts go where their goals say.

`arms_on_ptys.py FOLDER`: links FOLDER/leader.tty and FOLDER/follower.tty to the ptys and says so
with a line. Each line on its standard input is a request, answered with the follower's six torque
registers as JSON: `torque`; `leader D..` or `follower D..` (six degrees from the middle: put the
shafts there); `unplug` (the follower's pty goes); `replug` (a new one comes); `fault TEXT` (of the
follower, as `so101 twin --fault` takes it) and `clear`. Ends when its input does.
"""

import json
import math
import os
import select
import sys
import time
from pathlib import Path

import numpy as np

from robot.joints import FloatVector
from robot.registers import GOAL_POSITION, TORQUE_ENABLE
from sim.faults import parse_fault
from sim.pty_port import PtyPort
from sim.servo import ServoBank

ARMS = ("leader", "follower")
SPEED_RAD_S = 5.0
TURN_S = 0.002
MIDDLE = 2048
RAD_PER_TICK = 2 * math.pi / 4096


def follow(bank: ServoBank, position_rad: FloatVector, passed_s: float) -> None:
    """Let powered shafts go towards their goals."""
    for index, servo in enumerate(bank._servos):
        if servo.count(TORQUE_ENABLE):
            way_rad = (servo.count(GOAL_POSITION) - MIDDLE) * RAD_PER_TICK - position_rad[index]
            reach_rad = SPEED_RAD_S * passed_s
            position_rad[index] += min(max(way_rad, -reach_rad), reach_rad)
    bank.step(position_rad, np.zeros(6))


class Arms:
    """Two banks, where their shafts are, and the ptys they are on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.banks = [ServoBank(mount_ticks=[0] * 6) for _ in ARMS]
        self.position_rad: list[FloatVector] = [np.zeros(6) for _ in ARMS]
        self.ports = [PtyPort(bank) for bank in self.banks]
        for arm, port in zip(ARMS, self.ports, strict=True):
            self.link(arm, port)

    def link(self, arm: str, port: PtyPort) -> None:
        (self.folder / f"{arm}.tty").symlink_to(port.path)

    def answer(self, words: list[str]) -> list[int]:
        """Carry one request out."""
        if words[0] in ARMS:
            shafts_rad = self.position_rad[ARMS.index(words[0])]
            shafts_rad[:] = np.deg2rad([float(word) for word in words[1:]])
        elif words[0] == "unplug":
            (self.folder / "follower.tty").unlink()
            self.ports.pop().close()
        elif words[0] == "replug":
            self.ports.append(PtyPort(self.banks[1]))
            self.link("follower", self.ports[1])
        elif words[0] == "fault":
            self.ports[1].faults.add(parse_fault(" ".join(words[1:]))[1])
        elif words[0] == "clear":
            self.ports[1].faults.clear()
            self.banks[1].power_cycle()
        return [servo.count(TORQUE_ENABLE) for servo in self.banks[1]._servos]

    def turn(self, passed_s: float) -> None:
        """Move the shafts and serve what is ready."""
        for bank, position_rad in zip(self.banks, self.position_rad, strict=True):
            follow(bank, position_rad, passed_s)
        for port in self.ports:
            port.faults.advance(time.monotonic())
            port.serve_ready(time.monotonic())

    def wait_s(self) -> float:
        """Return how long nothing has to be done."""
        due_s = min((port.due_s for port in self.ports if port.due_s is not None), default=math.inf)
        return max(0.0, min(TURN_S, due_s - time.monotonic()))


def say(words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve."""
    arms = Arms(Path(sys.argv[1]))
    say("ready")
    last_s = time.monotonic()
    while True:
        ready = select.select([*arms.ports, sys.stdin], [], [], arms.wait_s())[0]
        now_s = time.monotonic()
        arms.turn(now_s - last_s)
        last_s = now_s
        if sys.stdin in ready:
            request = os.read(0, 4096).decode()
            if not request:
                return
            for line in request.splitlines():
                say(arms.answer(line.split()))


if __name__ == "__main__":
    main()
