"""A calibrated twin in virtual time, driven as the control process drives, to try faults on.

Loaded by path from conftest.py, for tests/ is no package.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from record.header import JournalHeader
from record.journal import EpisodeRecorder, JournalWriter
from robot.arm import Follower, Leader
from robot.arm_pair import ArmPair
from robot.bus import ServoBus
from robot.drive import Drive, Ending
from robot.errors import So101Error
from robot.health import Finding, HealthMonitor
from robot.joint_sample import JointSample
from robot.joints import (
    JOINTS,
    SERVO_IDS,
    TICKS_PER_TURN,
    Calibration,
    FloatVector,
    JointCalibration,
)
from robot.kinematics import RANGE_MAX_RAD, RANGE_MIN_RAD, model_rad_to_deg
from robot.limits import GoalLimiter
from robot.loop import Tick, TickListener
from robot.port import ServoPort
from robot.registers import (
    HOMING_OFFSET,
    LOCK,
    MAX_POSITION_LIMIT,
    MIN_POSITION_LIMIT,
    P_COEFFICIENT,
    PRESENT_POSITION,
    TORQUE_ENABLE,
)
from robot.rest import RestGoals
from robot.rig import ArmProfile, RigProfile, TwinProfile
from robot.torque import TorqueStates
from sim.faults import Fault
from sim.memory_serial import MemorySerial
from sim.servo import ServoBank
from sim.twin import VirtualRig, open_virtual
from sim.virtual_camera import Snapshot
from teleop.leader import LeaderGoals

STATES = ("idle", "moving", "recording")
RATE_HZ = 100.0
FAULT_AT_S = 1.0  # of the drive: the start ramp is over
DRIVE_S = 4.0  # then somebody asks to stop
TICKS_A_RAD = TICKS_PER_TURN / (2 * np.pi)
# A joint's zero is the middle of its range; the wrist roll's is not the model's zero.
MIDDLE_DEG = np.rad2deg((RANGE_MIN_RAD + RANGE_MAX_RAD) / 2)
PROFILE = RigProfile(
    schema=1,
    name="faults",
    leader=ArmProfile("twin:leader", "leader"),
    follower=ArmProfile("twin:follower", "follower"),
    table_height_m=0.0,
    twin=TwinProfile(seed=3),
)


class SwayHand:
    """Moves a leader to and fro about where it stands, each joint by up to 15 degrees."""

    done = False

    def __init__(self) -> None:
        self._start: tuple[float, FloatVector] | None = None

    def target_rad(
        self, now_s: float, own_rad: FloatVector, follower_rad: FloatVector
    ) -> FloatVector:
        """Swing at 0.4 Hz."""
        if self._start is None:
            self._start = now_s, own_rad.copy()
        start_s, middle_rad = self._start
        sway_rad = np.deg2rad([15.0, -12.0, 12.0, 15.0, 15.0, 15.0])
        swayed: FloatVector = middle_rad + sway_rad * np.sin(2 * np.pi * 0.4 * (now_s - start_s))
        return swayed


@dataclass
class Truth:
    """Where the follower's joints really were, every millisecond."""

    times_s: list[float] = field(default_factory=list[float])
    position_deg: list[FloatVector] = field(default_factory=list[FloatVector])

    def worst_error_deg(self, samples: list[JointSample]) -> float:
        """Return the largest difference between a sample and the truth at the sample's own time."""
        times_s = np.array(self.times_s)
        truth_deg = np.array(self.position_deg)
        said_deg = np.array([sample.position_deg for sample in samples])
        said_s = np.array([sample.time_s for sample in samples])
        worst_deg = 0.0
        for joint in range(len(JOINTS) - 1):
            true_deg = np.interp(said_s[:, joint], times_s, truth_deg[:, joint]) - MIDDLE_DEG[joint]
            worst_deg = max(worst_deg, float(np.abs(said_deg[:, joint] - true_deg).max()))
        return worst_deg


@dataclass
class Outcome:
    """What became of one drive."""

    error: So101Error | None
    findings: list[Finding]
    ticks: list[Tick]
    said: list[str]
    stopped_after_s: float  # from the fault to the end of following the leader
    released_after_s: float  # from there to the end of everything
    states: TorqueStates
    registers: list[int]  # Torque_Enable of the emulated servos, read from them directly
    truth_error_deg: float
    journal: Path | None

    @property
    def kinds(self) -> set[str]:
        """Kinds of the findings that were told."""
        return {finding.kind for finding in self.findings}


class FaultRig:
    """One twin, one drive, one fault."""

    def __init__(self, rig: VirtualRig, state: str, folder: Path) -> None:
        self.rig = rig
        self.twin = rig.twin
        self.clock = rig.clock
        self._state = state
        self._folder = folder
        self.truth = Truth()
        self.twin.add_camera(1000, self._note_truth)
        leader = self._calibrated(rig.leader_serial, self.twin.leader.position_rad)
        follower = self._calibrated(rig.follower_serial, self.twin.follower.position_rad)
        self.bank: ServoBank = self.twin.follower_bank
        self.follower = Follower.open(*follower, self.clock, self._reopen)
        self.pair = ArmPair(Leader.open(*leader), self.follower)
        self.reopened: list[MemorySerial] = []
        self.comes_back_as_another = False

    def leave_unsaved(self, servo_id: int) -> None:
        """Let a servo's configuration be one that power takes away: written while locked."""
        for register, value in ((LOCK, 0), (P_COEFFICIENT, 32), (LOCK, 1), (P_COEFFICIENT, 16)):
            self.follower.bus.write(servo_id, register, value)

    def run(
        self,
        *faults: Fault,
        on_leader: bool = False,
        drive_s: float = DRIVE_S,
        off_after_s: float = float("inf"),
        others: Sequence[TickListener] = (),
        say: Callable[[str], None] = lambda sentence: None,
    ) -> Outcome:
        """Drive for `drive_s`, with the faults from `FAULT_AT_S` on; come to rest and let go."""
        if self._state != "idle":
            self.twin.give_hand("leader", SwayHand())
        calibration = self.follower.calibration
        limiter = GoalLimiter(
            calibration, rate_hz=RATE_HZ, max_speed_deg_s=270.0, table_height_m=0.0
        )
        ticks: list[Tick] = []
        said: list[str] = []
        listeners: list[TickListener] = [_Keep(ticks), *others]
        writer = self._journal()
        if writer is not None:
            listeners.append(_WhileDriving(EpisodeRecorder(writer, {})))
        self.pair.torque_on()
        began_s = self.clock.now_s()
        for fault in faults:
            self.rig.control.inject(_later(fault), "leader" if on_leader else "follower")
        drive = Drive(self.pair, HealthMonitor(), limiter, listeners, RATE_HZ, self.clock)

        def note(sentence: str) -> None:
            said.append(sentence)
            say(sentence)

        ending = Ending(
            should_stop=lambda: self.clock.now_s() - began_s >= drive_s,
            is_off_wanted=lambda: self.clock.now_s() - began_s >= off_after_s,
            new_rest=lambda: RestGoals(
                calibration, lambda: limiter.last_sent_deg, table_height_m=0.0
            ),
            look_for_s=lambda: 2.0,
            say=note,
        )
        error: So101Error | None = None
        try:
            drive.to_rest(LeaderGoals(_LeaderOf(self.pair)), ending)
        except So101Error as raised:
            error = raised
        ended_s = self.clock.now_s()
        if writer is not None:
            if error is None:
                writer.close()
            else:
                writer.abandon()
        self.clock.sleep_until(ended_s + 0.05)
        driven = [tick for tick in ticks if tick.phase == "drive"]
        last_s = driven[-1].sent_s
        return Outcome(
            error=error,
            findings=[finding for tick in ticks for finding in tick.news],
            ticks=ticks,
            said=said,
            stopped_after_s=last_s - began_s - FAULT_AT_S,
            released_after_s=ended_s - last_s,
            states=self.follower.torque_state,
            registers=[self.bank.register(i, TORQUE_ENABLE) for i in SERVO_IDS],
            truth_error_deg=self.truth.worst_error_deg([tick.observed for tick in ticks]),
            journal=None if writer is None else self._journal_path(error),
        )

    def _journal(self) -> JournalWriter | None:
        if self._state != "recording":
            return None
        header = JournalHeader(
            episode=0,
            task="faults",
            rig_name="faults",
            rig_toml="",
            control_rate_hz=RATE_HZ,
            cameras={},
            calibration_sha256={},
            gains={},
            software={},
            boot_id="",
            started_s=self.clock.now_s(),
        )
        return JournalWriter(self._folder / "episode_000000.mcap", header)

    def _journal_path(self, error: So101Error | None) -> Path:
        name = "episode_000000.mcap"
        return self._folder / (name if error is None else name + ".part")

    def _calibrated(self, line: object, position_rad: FloatVector) -> tuple[ServoBus, Calibration]:
        """Store in the servos that their model angle is what the joints' middle is counted from."""
        bus = ServoBus(ServoPort(line, "twin", self.clock), self.clock)  # type: ignore[arg-type]  # duck-typed
        joints: list[JointCalibration] = []
        for index, servo_id in enumerate(SERVO_IDS):
            low_rad, high_rad = RANGE_MIN_RAD[index], RANGE_MAX_RAD[index]
            middle_rad = (low_rad + high_rad) / 2
            wanted = 2048 + (position_rad[index] - middle_rad) * TICKS_A_RAD
            offset = round(bus.read(servo_id, PRESENT_POSITION) - wanted)
            offset = (offset + 2048) % TICKS_PER_TURN - 2048
            joint = JointCalibration(
                servo_id,
                0,
                offset,
                round(2048 + (low_rad - middle_rad) * TICKS_A_RAD),
                round(2048 + (high_rad - middle_rad) * TICKS_A_RAD),
            )
            for register, value in (
                (LOCK, 0),
                (HOMING_OFFSET, joint.homing_offset),
                (MIN_POSITION_LIMIT, joint.range_min),
                (MAX_POSITION_LIMIT, joint.range_max),
                (LOCK, 1),
            ):
                bus.write(servo_id, register, value)
            joints.append(joint)
        return bus, Calibration(tuple(joints))

    def _reopen(self) -> ServoBus:
        line = self.rig.open_line("follower")
        self.reopened.append(line)
        if self.comes_back_as_another:
            offset = HOMING_OFFSET.address
            data = bytearray(self.bank.eeprom())
            data[offset] ^= 1
            self.bank.load_eeprom(bytes(data))
            self.comes_back_as_another = False
        return ServoBus(ServoPort(line, "twin again", self.clock), self.clock)

    def _note_truth(self, snapshot: Snapshot) -> None:
        self.truth.times_s.append(snapshot.time_s)
        self.truth.position_deg.append(
            model_rad_to_deg(np.array(self.twin.follower.position_rad, dtype=np.float64))
        )


@contextmanager
def fault_rig(state: str, folder: Path) -> Generator[FaultRig]:
    """Open a twin whose leader is held still (idle) or moved by a hand."""
    with open_virtual(PROFILE) as rig:
        yield FaultRig(rig, state, folder)


@dataclass(frozen=True)
class _LeaderOf:
    pair: ArmPair

    def read(self) -> JointSample:
        return self.pair.read_leader()


@dataclass(frozen=True)
class _Keep:
    ticks: list[Tick]

    def on_tick(self, tick: Tick) -> None:
        self.ticks.append(tick)


@dataclass(frozen=True)
class _WhileDriving:
    recorder: EpisodeRecorder

    def on_tick(self, tick: Tick) -> None:
        if tick.phase == "drive":
            self.recorder.on_tick(tick)


def _later(fault: Fault) -> Fault:
    return msgspec.structs.replace(fault, after_s=FAULT_AT_S)
