"""What the mock bus is made of: calibrated servos, and a leader that moves by script."""

import math
import random
from collections import deque
from pathlib import Path

import numpy as np

from robot.calibration_store import load_calibration
from robot.joints import SERVO_IDS, TICKS_PER_TURN
from robot.packets import WRITE, frame
from robot.registers import (
    GOAL_POSITION,
    HOMING_OFFSET,
    LOCK,
    MAX_POSITION_LIMIT,
    MIN_POSITION_LIMIT,
    Register,
    decode_sign_magnitude,
    encode_sign_magnitude,
)
from sim.free_shafts import STEP_S
from sim.mock_messages import Change, Move
from sim.servo import ServoBank
from sim.servo_motor import FOLLOWER_GEAR, LEADER_GEAR, STEPS_PER_RAD

CHANGES_KEPT = 100_000


def new_bank(calibration: Path | None, *, is_leader: bool) -> ServoBank:
    """Return six servos whose shafts, at 0 rad, read the middle of their calibrated range.

    Raises:
        ConfigError: the file is no calibration.
    """
    joints = () if calibration is None else load_calibration(calibration).joints
    # What a servo reads is its encoder less the offset; the horn is mounted accordingly.
    mounts = [
        (joint.range_min + joint.range_max) // 2 + joint.homing_offset - TICKS_PER_TURN // 2
        for joint in joints
    ] or [0] * len(SERVO_IDS)
    gear = LEADER_GEAR if is_leader else FOLLOWER_GEAR
    bank = ServoBank(mount_ticks=mounts, gear=gear, step_s=STEP_S)
    for joint in joints:
        for register, count in (
            (LOCK, 0),
            (HOMING_OFFSET, joint.homing_offset),
            (MIN_POSITION_LIMIT, joint.range_min),
            (MAX_POSITION_LIMIT, joint.range_max),
            (LOCK, 1),
        ):
            bank.handle(_write(joint.id, register, count), 0.0)
    bank.power_cycle()
    bank.step(np.zeros(len(SERVO_IDS)), np.zeros(len(SERVO_IDS)))
    return bank


class LeaderScript:
    """Moves the leader's shafts as told: what its servos read is a function of time.

    Stiff or not makes no difference to it: a person is stronger than a servo at rest.
    """

    def __init__(self, bank: ServoBank, seed: int = 0) -> None:
        self.changes: deque[Change] = deque(maxlen=CHANGES_KEPT)
        self._bank = bank
        self._random = random.Random(seed)
        self._still = np.zeros(len(SERVO_IDS))
        self._position_rad = np.zeros(len(SERVO_IDS))
        self._move = Move("still")
        self._began_s = 0.0
        self._jump_s = math.inf
        self._jump_ticks = 0

    @property
    def due_s(self) -> float:
        """When it must be advanced: the next jump."""
        return self._jump_s

    def move(self, move: Move, now_s: float) -> None:
        """Begin another motion, from where the shafts are (`wave`: from the middle)."""
        self._move = move
        self._began_s = now_s
        self._jump_ticks = move.size_ticks
        self._jump_s = now_s + move.period_s if move.motion == "jumps" else math.inf

    def advance(self, now_s: float) -> None:
        """Bring the shafts to where they are now; a jump is noted when the servos show it."""
        move = self._move
        if move.motion == "wave":
            angle = 2 * math.pi * (now_s - self._began_s) / move.period_s
            self._position_rad[:] = move.size_ticks / STEPS_PER_RAD * math.sin(angle)
            self._bank.step(self._position_rad, self._still)
        elif now_s >= self._jump_s:
            self._position_rad[0] += self._jump_ticks / STEPS_PER_RAD
            self._bank.step(self._position_rad, self._still)
            self.changes.append(Change(now_s, self._jump_ticks))
            self._jump_ticks = -self._jump_ticks
            # Drawn, so that changes fall on every phase of a control tick.
            self._jump_s = now_s + move.period_s * self._random.uniform(0.5, 1.5)


def goal_ticks(items: bytes) -> list[int]:
    """Return the goals of a packet's `id low high` triples, in the order of the ids."""
    triples = sorted(
        (items[at], int.from_bytes(items[at + 1 : at + 3], "little"))
        for at in range(0, len(items) - 2, 3)
    )
    assert GOAL_POSITION.sign_bit is not None
    return [decode_sign_magnitude(count, GOAL_POSITION.sign_bit) for _, count in triples]


def _write(servo_id: int, register: Register, count: int) -> bytes:
    if register.sign_bit is not None:
        count = encode_sign_magnitude(count, register.sign_bit)
    data = count.to_bytes(register.size, "little")
    return frame(servo_id, WRITE, bytes((register.address,)) + data)
