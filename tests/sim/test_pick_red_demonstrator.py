"""The scripted person picks the block through real servos, and says so when it cannot."""

import struct

import msgspec
import numpy as np
import pytest

from robot.joints import SERVO_IDS, FloatVector
from sim.demonstrators.pick_red import GIVE_UP_S, PickRedDemonstrator
from sim.servo import ServoBank
from sim.tasks.pick_red import TaskStart, is_up, sample_start
from sim.world import FollowerWorld, LeaderArm

STEPS_PER_RAD = 4096 / (2 * np.pi)


class Rollout:
    """A leader in the demonstrator's hand, a follower on emulated servos, goals at 100 Hz."""

    def __init__(self, seed: int) -> None:
        self.start = sample_start(np.random.default_rng(seed))
        self.world = FollowerWorld()
        self.leader = LeaderArm()
        self.world.reset(self.start)
        self.leader.reset(np.array(self.start.arm_rad))
        self.bank = ServoBank(mount_ticks=[0] * 6)
        self.bank.step(self.world.position_rad, self.world.velocity_rad_s)
        self._write(0xFE, 55, b"\x00")  # open the EEPROM lock
        self._write(0xFE, 21, bytes([16, 32, 0]))  # P, D, I as LeRobot sets them
        self._write(6, 16, struct.pack("<H", 500))  # and the gripper's Max_Torque
        self._write(0xFE, 40, b"\x01")
        self.hand = PickRedDemonstrator(self.world, self.start.seed)
        self.now_s = 0.0
        self.states: list[bytes] = []

    def run(self) -> None:
        """Step until the hand is done."""
        limp = np.zeros(6)
        while not self.hand.done:
            self._send(self.leader.position_rad)
            target_rad = self.hand.target_rad(
                self.now_s, self.leader.position_rad, self.world.position_rad
            )
            for _ in range(10):
                torque_nm = self.bank.step(self.world.position_rad, self.world.velocity_rad_s)
                self.world.step(torque_nm)
                self.leader.step(limp, target_rad)
            self.now_s += 0.01
            self.states.append(self.world.data.qpos.tobytes())

    def _send(self, goal_rad: FloatVector) -> None:
        ticks = np.rint(2048 + goal_rad * STEPS_PER_RAD).astype(int).tolist()
        rows = [struct.pack("<BH", i, tick) for i, tick in zip(SERVO_IDS, ticks, strict=True)]
        self._request(0xFE, 0x83, bytes([42, 2]) + b"".join(rows))

    def _write(self, servo_id: int, address: int, data: bytes) -> None:
        self._request(servo_id, 0x03, bytes([address]) + data)

    def _request(self, servo_id: int, instruction: int, parameters: bytes) -> None:
        body = bytes([servo_id, len(parameters) + 2, instruction]) + parameters
        self.bank.handle(b"\xff\xff" + body + bytes([~sum(body) & 0xFF]), 0.0)


@pytest.fixture(scope="module")
def rollouts() -> list[Rollout]:
    tried = [Rollout(seed) for seed in range(8)]
    for each in tried:
        each.run()
    return tried


def test_it_picks_the_red_block(rollouts: list[Rollout]) -> None:
    successes = sum(is_up(each.world) and not each.hand.has_given_up for each in rollouts)

    # 50 of 50 when measured over seeds 0..49; one failure is bad luck, two are a defect.
    assert successes >= len(rollouts) - 1


def test_it_takes_as_long_as_a_person(rollouts: list[Rollout]) -> None:
    assert all(3.0 < each.now_s < 6.0 for each in rollouts if not each.hand.has_given_up)
    assert len({round(each.now_s, 2) for each in rollouts}) > len(rollouts) // 2


def test_it_leaves_the_other_blocks_alone(rollouts: list[Rollout]) -> None:
    for each in rollouts:
        for block in each.start.others:
            place_m = each.world.block_position_m(block.colour)[:2]
            assert place_m == pytest.approx([block.x_m, block.y_m], abs=2e-3)


def test_the_follower_sags_and_the_person_corrects(rollouts: list[Rollout]) -> None:
    """The leader is not where the follower is: without correction the block would be missed."""
    for each in rollouts:
        apart_deg = np.rad2deg(np.abs(each.leader.position_rad - each.world.position_rad))
        assert apart_deg[1:4].max() > 1.0


def test_the_block_is_held_between_the_jaws_not_pushed_up(rollouts: list[Rollout]) -> None:
    for each in rollouts:
        if is_up(each.world):
            tip_m = each.world.data.site("gripperframe").xpos
            assert np.linalg.norm(each.world.block_position_m("red") - tip_m) < 0.03


def test_one_seed_is_one_demonstration(rollouts: list[Rollout]) -> None:
    again = Rollout(0)
    again.run()

    assert again.states == rollouts[0].states


def test_it_gives_up_on_a_block_that_is_not_there() -> None:
    rollout = Rollout(0)
    beyond = msgspec.structs.replace(rollout.start.red, x_m=0.26, y_m=0.0)
    start: TaskStart = msgspec.structs.replace(rollout.start, red=beyond)
    rollout.world.reset(start)
    rollout.hand.target_rad(0.0, rollout.leader.position_rad, rollout.world.position_rad)
    taken_away = msgspec.structs.replace(start, red=msgspec.structs.replace(beyond, x_m=0.5))
    rollout.world.reset(taken_away)
    rollout.run()

    assert rollout.hand.has_given_up
    assert rollout.now_s == pytest.approx(GIVE_UP_S, abs=0.05)
