"""A follower of emulated servos among the twin's table and blocks, on a bus in virtual time."""

import math

import numpy as np

from robot.arm import Follower
from robot.bus import ServoBus
from robot.joints import (
    GRIPPER,
    TICKS_PER_TURN,
    Calibration,
    FloatVector,
    JointCalibration,
)
from robot.kinematics import RANGE_MAX_RAD, deg_to_model_rad
from robot.port import ServoPort
from robot.registers import HOMING_OFFSET, LOCK, MAX_POSITION_LIMIT, MIN_POSITION_LIMIT
from sim.hands import Hand
from sim.memory_serial import MemorySerial
from sim.servo import ServoBank
from sim.tasks.pick_red import TaskStart, sample_start
from sim.world import STEP_S, FollowerWorld, LeaderArm

TICKS_PER_RAD = TICKS_PER_TURN / (2.0 * math.pi)
HAND_STEPS = 10


def model_calibration() -> Calibration:
    """Degrees as the model has them: zero in the middle, the gripper closed at its lower end."""
    joints: list[JointCalibration] = []
    for index in range(6):
        half = math.floor(float(RANGE_MAX_RAD[index]) * TICKS_PER_RAD)
        low = 2048 - half
        if index == GRIPPER:
            low = 2048 - round(math.radians(10.0) * TICKS_PER_RAD)
        elif index == 4:  # the roll's range is not symmetric, its calibration has to be
            half = round(math.radians(157.0) * TICKS_PER_RAD)
            low = 2048 - half
        joints.append(JointCalibration(index + 1, 0, 0, low, 2048 + half))
    return Calibration(tuple(joints))


class WorldClock:
    """Virtual time that steps the world; a hand may move the leader, and one hold the follower."""

    def __init__(self, start: TaskStart) -> None:
        self.bank = ServoBank(mount_ticks=[0] * 6)
        self.world = FollowerWorld()
        self.leader = LeaderArm()
        self.leader_hand: Hand | None = None
        self.held_rad: FloatVector | None = None
        self.time_s = 0.0
        self.place(start)

    def place(self, start: TaskStart) -> None:
        """Put arms and blocks where `start` says; a hand holds the follower there."""
        self.world.reset(start)
        self.leader.reset(np.array(start.arm_rad))
        self.held_rad = np.array(start.arm_rad)
        self._target_rad: FloatVector | None = np.array(start.arm_rad)
        self._steps = round(self.time_s / STEP_S)
        self.bank.step(self.world.position_rad, self.world.velocity_rad_s)
        self.bank.reseat()

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, deadline_s: float) -> None:
        self.time_s = max(self.time_s, deadline_s)
        limp = np.zeros(6)
        while self._steps * STEP_S < self.time_s - 1e-9:
            if self.leader_hand is not None and self._steps % HAND_STEPS == 0:
                self._target_rad = self.leader_hand.target_rad(
                    self._steps * STEP_S, self.leader.position_rad, self.world.position_rad
                )
            self.world.step(
                self.bank.step(self.world.position_rad, self.world.velocity_rad_s), self.held_rad
            )
            self.leader.step(limp, self._target_rad)
            self._steps += 1


class WorldBench:
    """A follower that is calibrated, configured and powered, held by nobody."""

    def __init__(self, seed: int = 0, arm_deg: FloatVector | None = None) -> None:
        start = sample_start(np.random.default_rng(seed))
        if arm_deg is not None:
            start = TaskStart(
                start.seed,
                start.red,
                start.others,
                tuple(float(angle) for angle in deg_to_model_rad(arm_deg)),
            )
        self.clock = WorldClock(start)
        self.calibration = model_calibration()
        line = MemorySerial(self.clock.bank, self.clock)
        self.bus = ServoBus(ServoPort(line, "bench", self.clock), self.clock)
        for joint in self.calibration.joints:
            self.bus.write(joint.id, LOCK, 0)
            self.bus.write(joint.id, HOMING_OFFSET, joint.homing_offset)
            self.bus.write(joint.id, MIN_POSITION_LIMIT, joint.range_min)
            self.bus.write(joint.id, MAX_POSITION_LIMIT, joint.range_max)
            self.bus.write(joint.id, LOCK, 1)
        self.follower = Follower.open(self.bus, self.calibration, self.clock)
        self.follower.torque_on()
        self.clock.held_rad = None
