"""Play a person's recorded motion through the emulated arm, in the order of LeRobot's loop.

Everything between the recorded leader and the measured follower is real: bytes on both buses,
`Leader` and `Follower`, the registers that a follower is configured with, the servo model, gravity.
No delay or filter is added, and one set of parameters serves all joints. The follower hangs in free
air: where the recorded one stood is unknown, and with nominal joint ranges its fingers would reach
30 mm into a table.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from robot import registers
from robot.arm import Follower, Leader
from robot.bus import ServoBus
from robot.clock import Clock
from robot.joints import (
    DEG_PER_TICK,
    GRIPPER,
    JOINTS,
    MAX_TICK,
    SERVO_IDS,
    Calibration,
    FloatVector,
    JointCalibration,
)
from robot.kinematics import deg_to_model_rad
from robot.port import ServoPort
from sim.hands import RecordedHand
from sim.memory_serial import MemorySerial
from sim.recorded_motion import NOMINAL_HALF_RANGE_DEG
from sim.recorded_pair import Fit, Recording, Samples, fit_delay
from sim.servo import ServoBank
from sim.servo_motor import FOLLOWER_GEAR, LEADER_GEAR, STEPS_PER_RAD
from sim.twin_clock import TwinClock
from sim.world import STEP_S, LeaderArm

HAND_PERIOD_S = 0.01
MAX_DELAY_ERROR_S = 0.030
RESIDUAL_RATIO = (0.5, 1.5)


class Route(StrEnum):
    """How the recorded leader reaches the follower."""

    GOALS = "goals"  # the recorded leader readings are sent as goals
    HAND = "hand"  # a hand moves the emulated leader, whose readings are sent


@dataclass(frozen=True, slots=True)
class Trace:
    """What the emulated follower did; shapes (N, 6), normalised units, at the recording's times."""

    sent: Samples
    state: Samples


@dataclass(frozen=True, slots=True)
class Comparison:
    """One joint of the twin beside the same joint of the real arm."""

    joint: str
    real: Fit
    twin: Fit

    @property
    def delay_error_s(self) -> float:
        """How much later than the real joint the emulated one follows."""
        return self.twin.delay_s - self.real.delay_s

    @property
    def residual_ratio(self) -> float:
        """Residual of the twin over that of the real joint; infinite beside a perfect one."""
        return self.twin.residual / self.real.residual if self.real.residual else math.inf

    @property
    def is_within(self) -> bool:
        """Whether delay, and on an arm joint the residual, are near the real ones.

        The gripper's residual is not judged: the real one held an object.
        """
        low, high = RESIDUAL_RATIO
        is_like = self.joint == JOINTS[GRIPPER] or low <= self.residual_ratio <= high
        return abs(self.delay_error_s) <= MAX_DELAY_ERROR_S and is_like


def nominal_calibration() -> Calibration:
    """Return the calibration under which normalised units mean the nominal ranges."""
    ends_rad = normalised_to_rad(np.array([[-100.0] * 5 + [0.0], [100.0] * 6]))
    low, high = np.clip(np.rint(2048 + ends_rad * STEPS_PER_RAD), 0, MAX_TICK).astype(int).tolist()
    return Calibration(
        tuple(
            JointCalibration(servo_id, 0, 0, range_min, range_max)
            for servo_id, range_min, range_max in zip(SERVO_IDS, low, high, strict=True)
        )
    )


def normalised_to_deg(samples: Samples, calibration: Calibration) -> Samples:
    """Convert LeRobot's normalised units to degrees (gripper percent), shape (..., 6)."""
    return samples / _normalised_per_deg(calibration)


def deg_to_normalised(samples_deg: Samples, calibration: Calibration) -> Samples:
    """Convert degrees (gripper percent) to LeRobot's normalised units, shape (..., 6)."""
    return samples_deg * _normalised_per_deg(calibration)


def _normalised_per_deg(calibration: Calibration) -> FloatVector:
    span_ticks = calibration.range_max_ticks - calibration.range_min_ticks
    scale: FloatVector = np.asarray(200.0 / DEG_PER_TICK / span_ticks, dtype=np.float64)
    scale[GRIPPER] = 1.0
    return scale


def normalised_to_rad(samples: Samples) -> Samples:
    """Convert normalised units to the model's radians by the nominal ranges, shape (N, 6)."""
    nominal_deg = samples * np.append(NOMINAL_HALF_RANGE_DEG / 100, 1.0)
    return np.array([deg_to_model_rad(row) for row in nominal_deg])


class _Bench:
    """Two emulated arms in free air with a hand on either; `Advanceable`."""

    def __init__(self, leader_rad: FloatVector, follower_rad: FloatVector) -> None:
        self.now_s = 0.0
        self.leader_bank = ServoBank(mount_ticks=(0,) * 6, gear=LEADER_GEAR)
        self.follower_bank = ServoBank(mount_ticks=(0,) * 6, gear=FOLLOWER_GEAR)
        self.leader, self.follower = LeaderArm(LEADER_GEAR), LeaderArm(FOLLOWER_GEAR)
        self.hand: RecordedHand | None = None
        self.is_follower_held = True  # until its torque comes on, as a person would hold it
        self._leader_target, self._follower_target = leader_rad, follower_rad
        self._hand_due_s = 0.0
        self._steps = 0
        self.reset()

    def reset(self) -> None:
        """Put both arms where they start."""
        self.leader.reset(self._leader_target)
        self.follower.reset(self._follower_target)

    def advance(self, until_s: float) -> None:
        """Step to the last whole step that is not after `until_s`."""
        while (self._steps + 1) * STEP_S <= until_s + 1e-9:
            if self.hand is not None and self.now_s >= self._hand_due_s:
                self._hand_due_s += HAND_PERIOD_S
                self._leader_target = self.hand.target_rad(
                    self.now_s, self.leader.position_rad, self.follower.position_rad
                )
            leader, follower = self.leader, self.follower
            torque_nm = self.leader_bank.step(leader.position_rad, leader.velocity_rad_s)
            leader.step(torque_nm, self._leader_target)
            torque_nm = self.follower_bank.step(follower.position_rad, follower.velocity_rad_s)
            follower.step(torque_nm, self._follower_target if self.is_follower_held else None)
            self._steps += 1
            self.now_s = self._steps * STEP_S


def play(recording: Recording, through: Route) -> Trace:
    """Play one recording in LeRobot's order: read the follower, read the leader, send."""
    calibration = nominal_calibration()
    action_rad = normalised_to_rad(recording.action)
    bench = _Bench(action_rad[0], normalised_to_rad(recording.state[:1])[0])
    clock = TwinClock(bench)
    leader_bus = _open_bus(bench.leader_bank, "leader", clock, calibration)
    follower_bus = _open_bus(bench.follower_bank, "follower", clock, calibration)
    action_deg = normalised_to_deg(recording.action, calibration)
    sent_deg, state_deg = np.empty_like(action_deg), np.empty_like(action_deg)
    with leader_bus, follower_bus:
        leader = Leader.open(leader_bus, calibration)
        with Follower.open(follower_bus, calibration, clock) as follower:
            bench.reset()
            follower.torque_on()
            bench.is_follower_held = False
            bench.hand = RecordedHand(recording.times_s, action_rad)
            start_s = clock.now_s()
            for index, time_s in enumerate(recording.times_s):
                clock.sleep_until(start_s + time_s)
                state_deg[index] = follower.read().position_deg
                read_deg = leader.read().position_deg
                goal_deg = action_deg[index] if through is Route.GOALS else read_deg
                follower.send_deg(goal_deg)
                sent_deg[index] = goal_deg
    return Trace(
        deg_to_normalised(sent_deg, calibration), deg_to_normalised(state_deg, calibration)
    )


def _open_bus(bank: ServoBank, name: str, clock: Clock, calibration: Calibration) -> ServoBus:
    """Open a bus on a bank and store the calibration in its servos, as `calibrate` does."""
    bus = ServoBus(ServoPort(MemorySerial(bank, clock), name, clock), clock)
    for joint in calibration.joints:
        bus.write(joint.id, registers.LOCK, 0)
        bus.write_verified(joint.id, registers.MIN_POSITION_LIMIT, joint.range_min)
        bus.write_verified(joint.id, registers.MAX_POSITION_LIMIT, joint.range_max)
        bus.write(joint.id, registers.LOCK, 1)
    return bus


def compare(recordings: list[Recording], traces: list[Trace]) -> list[Comparison]:
    """Fit the twin's traces and the real states by the same estimator, joint by joint."""
    comparisons: list[Comparison] = []
    for joint, name in enumerate(JOINTS):
        real = [(r.times_s, r.action[:, joint], r.state[:, joint]) for r in recordings]
        twin = [
            (r.times_s, t.sent[:, joint], t.state[:, joint])
            for r, t in zip(recordings, traces, strict=True)
        ]
        comparisons.append(Comparison(name, fit_delay(real), fit_delay(twin)))
    return comparisons
