"""A program: two arms of emulated servos on ptys, whose shafts go where their goals say.

Prints the paths of leader and follower as one JSON line. Each line on its standard input is a
request, answered with the follower's six torque registers: `torque`, and `leader D..` or `follower
D..` (six degrees from the middle: put the shafts there). Ends when its input does.
"""

import json
import math
import os
import select
import sys
import time

import numpy as np

from robot.joints import FloatVector
from robot.registers import GOAL_POSITION, TORQUE_ENABLE
from sim.pty_port import PtyPort
from sim.servo import ServoBank

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


def answer(words: list[str], follower: ServoBank, position_rad: list[FloatVector]) -> list[int]:
    """Carry one request out."""
    if words[0] in ("leader", "follower"):
        shafts_rad = position_rad[words[0] == "follower"]
        shafts_rad[:] = np.deg2rad([float(word) for word in words[1:]])
    return [servo.count(TORQUE_ENABLE) for servo in follower._servos]


def say(words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve."""
    banks = [ServoBank(mount_ticks=[0] * 6) for _ in range(2)]
    positions_rad: list[FloatVector] = [np.zeros(6), np.zeros(6)]
    ports = [PtyPort(bank) for bank in banks]
    say([port.path for port in ports])
    last_s = time.monotonic()
    while True:
        due_s = min((port.due_s for port in ports if port.due_s is not None), default=math.inf)
        wait_s = max(0.0, min(TURN_S, due_s - time.monotonic()))
        ready = select.select([*ports, sys.stdin], [], [], wait_s)[0]
        now_s = time.monotonic()
        for bank, position_rad in zip(banks, positions_rad, strict=True):
            follow(bank, position_rad, now_s - last_s)
        last_s = now_s
        for port in ports:
            port.serve_ready(time.monotonic())
        if sys.stdin in ready:
            request = os.read(0, 4096).decode()
            if not request:
                return
            for line in request.splitlines():
                say(answer(line.split(), banks[1], positions_rad))


if __name__ == "__main__":
    main()
