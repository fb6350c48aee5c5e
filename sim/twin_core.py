"""The digital twin: two arms of emulated servos in a physical world, hands, and cameras.

One object, stepped to a time by whoever owns the clock: by the virtual clock as fast as the
processor allows, by the server process at the pace of the machine's. It knows neither transports
nor rendering.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from robot import registers
from robot.errors import ConfigError
from robot.joints import SERVO_IDS, FloatVector
from robot.rig import RigProfile, TwinProfile
from sim.demonstrators.pick_red import PickRedDemonstrator
from sim.eeprom_file import load_eeproms, save_eeproms
from sim.fault_injector import FaultInjector
from sim.faults import ArmName as ArmName
from sim.hands import Hand, SweepHand
from sim.servo import ServoBank
from sim.servo_motor import FOLLOWER_GEAR, LEADER_GEAR
from sim.tasks.pick_red import HeldUp, TaskStart, sample_start
from sim.virtual_camera import Snapshot
from sim.world import STEP_S, FollowerWorld, LeaderArm

HandName = Literal["none", "sweep", "demonstrator"]
ARM_NAMES: tuple[ArmName, ArmName] = ("leader", "follower")
TASKS = ("pick_red",)
CAMERAS = ("wrist", "front")

STEPS_PER_S = round(1 / STEP_S)
HAND_STEPS = 10  # a hand is asked every 10 ms; a person's own loop is slower still
_WHOLE_STEP = 1e-6  # part of a step that rounding of a time may be short of it


class HoldHand:
    """Holds an arm where it was put; lets go for good once its servos hold it (`is_stiff`)."""

    def __init__(self, hold_rad: FloatVector, is_stiff: Callable[[], bool]) -> None:
        self.done = False
        self._hold_rad = hold_rad
        self._is_stiff = is_stiff

    def target_rad(
        self,
        now_s: float,
        own_rad: FloatVector,
        follower_rad: FloatVector,
    ) -> FloatVector | None:
        """Return the place to hold, None once the arm holds itself."""
        self.done = self.done or self._is_stiff()
        return None if self.done else self._hold_rad


class Twin:
    """Both arms, their world and who touches them; time moves only in `advance`.

    At the start, and after each `place`, a hand holds either arm at the start's pose: the
    follower's until its torque goes on, the leader's until another hand takes over.
    """

    def __init__(self, profile: RigProfile, start_s: float = 0.0) -> None:
        self._twin_profile = check_profile(profile)
        seed = self._twin_profile.seed
        self.now_s = start_s
        self.lost_s = 0.0  # time in which the world was not stepped, see `lose_time`
        self._origin_s = start_s
        self._steps = 0  # of the world, since the origin
        self.leader_bank = ServoBank(seed=2 * seed, gear=LEADER_GEAR)
        self.follower_bank = ServoBank(seed=2 * seed + 1, gear=FOLLOWER_GEAR)
        self._eeprom_path = (
            Path(self._twin_profile.eeprom_file) if self._twin_profile.eeprom_file else None
        )
        self._saved_eeproms: dict[str, bytes] = {}
        self._load_eeproms()
        self.faults: dict[ArmName, FaultInjector] = {
            "leader": FaultInjector(self.leader_bank),
            "follower": FaultInjector(self.follower_bank),
        }
        self.leader = LeaderArm()
        self.follower = FollowerWorld()
        self._shutters: list[_Shutter] = []
        self._hands: dict[ArmName, Hand | None] = {}
        self._targets_rad: dict[ArmName, FloatVector | None] = {}
        self.place(sample_start(np.random.default_rng(seed)))

    # -- time ----------------------------------------------------------------------------------

    def advance(self, until_s: float) -> None:
        """Step to the last whole step not after `until_s`; serve hands and cameras on the way."""
        target = int((until_s - self._origin_s) * STEPS_PER_S + _WHOLE_STEP)
        while self._steps < target:
            if self._steps % HAND_STEPS == 0:
                # In time that was simulated: what the world could not keep up with does not count.
                self._held_up.look(self._steps / STEPS_PER_S)
                for injector in self.faults.values():
                    injector.advance(self.now_s)
                self._ask_hands()
            stop = min(target, self._steps - self._steps % HAND_STEPS + HAND_STEPS)
            for shutter in self._shutters:
                stop = min(stop, shutter.due_step)
            self._step(stop - self._steps)
            for shutter in self._shutters:
                if shutter.due_step <= self._steps:
                    shutter.release(self.now_s, self.follower.data.qpos.copy())

    def start_now(self, now_s: float) -> None:
        """Start a world not yet stepped at `now_s`: what came before was setting up."""
        self._origin_s = self.now_s = now_s

    def lose_time(self, lost_s: float) -> None:
        """Skip time that could not be simulated: the clock goes on, the world does not."""
        self._origin_s += lost_s
        self.now_s += lost_s
        self.lost_s += lost_s

    def add_camera(self, fps: int, expose: Callable[[Snapshot], None]) -> None:
        """Call `expose` with the state of the world at every 1/fps seconds from now on."""
        self._shutters.append(_Shutter(fps, self._steps, expose))

    def _step(self, count: int) -> None:
        """Advance the physics; the hot loop: a millisecond a turn."""
        leader, follower = self.leader, self.follower
        drive_leader, drive_follower = self.leader_bank.step, self.follower_bank.step
        pull_leader, pull_follower = self._targets_rad["leader"], self._targets_rad["follower"]
        for _ in range(count):
            leader.step(drive_leader(leader.position_rad, leader.velocity_rad_s), pull_leader)
            follower.step(
                drive_follower(follower.position_rad, follower.velocity_rad_s), pull_follower
            )
        self._steps += count
        self.now_s = self._origin_s + self._steps / STEPS_PER_S

    def _ask_hands(self) -> None:
        follower_rad = self.follower.position_rad
        arms: dict[ArmName, FloatVector] = {
            "leader": self.leader.position_rad,
            "follower": follower_rad,
        }
        for name, own_rad in arms.items():
            hand = self._hands[name]
            self._targets_rad[name] = (
                None if hand is None else hand.target_rad(self.now_s, own_rad, follower_rad)
            )

    # -- scene and hands -----------------------------------------------------------------------

    def reset(self, seed: int) -> TaskStart:
        """Draw a start of the task from a seed and put arms and blocks there."""
        start = sample_start(np.random.default_rng(seed))
        self.place(start)
        return start

    def place(self, start: TaskStart) -> None:
        """Put arms and blocks where `start` says; hands hold the arms there."""
        pose_rad = np.array(start.arm_rad)
        self.follower.reset(start)
        self._held_up = HeldUp(self.follower)
        self.leader.reset(pose_rad)
        self.leader_bank.reseat()
        self.follower_bank.reseat()
        self.give_hand("leader", HoldHand(pose_rad, lambda: False))
        self.give_hand("follower", HoldHand(pose_rad, lambda: is_stiff(self.follower_bank)))

    def set_hand(self, arm: ArmName, hand: HandName, seed: int = 0) -> None:
        """Let one of the built-in hands take an arm; `none` lets it fall.

        Raises:
            ConfigError: no such arm or hand, or a demonstrator for the follower, which follows.
        """
        if arm not in ARM_NAMES:
            raise ConfigError(f"the twin has no arm '{arm}'; its arms are {', '.join(ARM_NAMES)}")
        match hand:
            case "none":
                self.give_hand(arm, None)
            case "sweep":
                self.give_hand(arm, SweepHand())
            case "demonstrator" if arm == "leader":
                self.give_hand(arm, PickRedDemonstrator(self.follower, seed))
            case _:
                raise ConfigError(
                    f"there is no hand '{hand}' for the {arm}; "
                    "hands are none, sweep and, for the leader, demonstrator"
                )

    def give_hand(self, arm: ArmName, hand: Hand | None) -> None:
        """Let any hand take an arm; it is asked at the next hundredth of a second."""
        self._hands[arm] = hand
        self._targets_rad.setdefault(arm, None)

    def is_hand_done(self, arm: ArmName) -> bool:
        """Tell whether an arm's hand has finished; an absent hand has."""
        hand = self._hands[arm]
        return hand is None or hand.done

    @property
    def red_height_m(self) -> float:
        """Height of the red block's centre above the table."""
        return float(self.follower.block_position_m("red")[2])

    @property
    def is_success(self) -> bool:
        """Tell whether the task has been done since the scene was placed."""
        return self._held_up.is_reached

    # -- EEPROM --------------------------------------------------------------------------------

    def save_eeproms(self) -> bool:
        """Write the servos' EEPROM to its file if it changed; returns whether it did."""
        if self._eeprom_path is None:
            return False
        images = {"leader": self.leader_bank.eeprom(), "follower": self.follower_bank.eeprom()}
        if images == self._saved_eeproms:
            return False
        save_eeproms(self._eeprom_path, self._twin_profile.seed, images)
        self._saved_eeproms = images
        return True

    def _load_eeproms(self) -> None:
        images = (
            {}
            if self._eeprom_path is None
            else load_eeproms(self._eeprom_path, self._twin_profile.seed)
        )
        for name, bank in (("leader", self.leader_bank), ("follower", self.follower_bank)):
            if name in images:
                bank.load_eeprom(images[name])
        self._saved_eeproms = {
            "leader": self.leader_bank.eeprom(),
            "follower": self.follower_bank.eeprom(),
        }


def is_stiff(bank: ServoBank) -> bool:
    """Tell whether every servo of an arm has its torque on."""
    return all(bank.register(servo_id, registers.TORQUE_ENABLE) == 1 for servo_id in SERVO_IDS)


class _Shutter:
    """When one camera is due; its frames fall on the first step at or after k / fps."""

    def __init__(self, fps: int, start_step: int, expose: Callable[[Snapshot], None]) -> None:
        self._fps = fps
        self._start_step = start_step
        self._expose = expose
        self._index = 0
        self.due_step = start_step + self._steps_to(1)

    def release(self, now_s: float, qpos: FloatVector) -> None:
        """Take one picture."""
        self._expose(Snapshot(now_s, self._index, qpos))
        self._index += 1
        self.due_step = self._start_step + self._steps_to(self._index + 1)

    def _steps_to(self, index: int) -> int:
        return -(-index * STEPS_PER_S // self._fps)


def check_profile(profile: RigProfile) -> TwinProfile:
    """Return the twin's part of a profile; raises ConfigError for what is not there."""
    twin = profile.twin
    if twin is None:
        raise ConfigError(
            f"the rig '{profile.name}' describes no twin; "
            "add a [twin] table, or use configs/twin.toml (--rig)"
        )
    if twin.task not in TASKS:
        raise ConfigError(
            f"the twin has no task '{twin.task}'; its tasks are {', '.join(TASKS)}; correct `task`"
        )
    for name, camera in profile.cameras.items():
        if name not in CAMERAS:
            raise ConfigError(
                f"the twin has no camera '{name}'; its cameras are {', '.join(CAMERAS)}"
            )
        if not 1 <= camera.fps <= STEPS_PER_S:
            raise ConfigError(
                f"camera '{name}': fps is {camera.fps}; it must be 1 to {STEPS_PER_S}"
            )
        if camera.rotation_deg:
            raise ConfigError(
                f"camera '{name}': the twin's cameras are not upside down; set rotation_deg = 0"
            )
    return twin
