"""The physics: the published arm, a hand that can hold it, and blocks that can be held."""

import json

import msgspec
import numpy as np
import pytest

from robot.joints import JOINTS, FloatVector
from robot.kinematics import RANGE_MAX_RAD, RANGE_MIN_RAD, ArmKinematics, model_rad_to_deg
from sim.servo_motor import FOLLOWER_GEAR, LEADER_GEAR
from sim.tasks.pick_red import REST_RAD, TaskStart, is_up, sample_start
from sim.world import STEP_S, FollowerWorld, LeaderArm, geared_friction

LIMP = np.zeros(6)


def start_at(arm_rad: FloatVector, seed: int = 0) -> TaskStart:
    start = sample_start(np.random.default_rng(seed))
    return msgspec.structs.replace(start, arm_rad=tuple(arm_rad.tolist()))


@pytest.fixture
def world() -> FollowerWorld:
    return FollowerWorld()


def test_the_arm_is_the_published_one(world: FollowerWorld) -> None:
    arm = ArmKinematics()
    rng = np.random.default_rng(5)

    # Mass of TheRobotStudio's model; its mechanics and `robot/kinematics.py` agree everywhere.
    bodies = ["base", "shoulder", "upper_arm", "lower_arm", "wrist", "gripper"]
    mass_kg = sum(
        float(world.model.body(name).mass[0]) for name in [*bodies, "moving_jaw_so101_v1"]
    )
    assert mass_kg == pytest.approx(0.632, abs=1e-3)
    for _ in range(20):
        rad = rng.uniform(RANGE_MIN_RAD, RANGE_MAX_RAD)
        world.reset(start_at(rad))
        expected = arm.forward(model_rad_to_deg(rad)).position_m
        assert world.data.site("gripperframe").xpos == pytest.approx(expected, abs=1e-9)


def test_the_six_joints_come_first_and_in_order(world: FollowerWorld) -> None:
    for index, name in enumerate(JOINTS):
        assert world.model.joint(name).qposadr[0] == index


def test_position_and_velocity_are_live_views(world: FollowerWorld) -> None:
    world.reset(start_at(np.zeros(6)))
    position_rad, velocity_rad_s = world.position_rad, world.velocity_rad_s
    for _ in range(50):
        world.step(LIMP)

    assert abs(position_rad[1]) > 1e-3
    assert abs(velocity_rad_s[1]) > 1e-3


def test_friction_of_lighter_gears_is_smaller() -> None:
    leader, follower = geared_friction(LEADER_GEAR), geared_friction(FOLLOWER_GEAR)

    assert follower.coulomb_nm == pytest.approx(0.15)
    assert follower.armature_kg_m2 == pytest.approx(0.0284)
    # Figures derived for 1:191 and 1:147 from the bench's 1:345.
    assert leader.armature_kg_m2[[0, 3]] == pytest.approx([0.0087, 0.0052], abs=1e-4)
    assert leader.coulomb_nm[1] == follower.coulomb_nm[1]


def test_the_folded_arm_stays_put_without_torque(world: FollowerWorld) -> None:
    for seed in range(5):
        start = sample_start(np.random.default_rng(seed))
        world.reset(start)
        for _ in range(1500):
            world.step(LIMP)
        moved_deg = np.rad2deg(np.abs(world.position_rad - np.array(start.arm_rad)))
        assert moved_deg.max() < 4.0
        assert np.abs(world.velocity_rad_s).max() < 0.05


def test_a_raised_arm_falls_without_torque(world: FollowerWorld) -> None:
    world.reset(start_at(np.zeros(6)))
    for _ in range(1000):
        world.step(LIMP)

    assert np.rad2deg(world.position_rad[1]) > 20


def test_gravity_torque_holds_the_arm(world: FollowerWorld) -> None:
    rad = np.deg2rad([0.0, 20.0, 0.0, 30.0, 0.0, 10.0])
    world.reset(start_at(rad))
    for _ in range(500):
        world.step(world.gravity_nm())

    assert world.position_rad == pytest.approx(rad, abs=1e-3)


def test_blocks_rest_where_they_were_put(world: FollowerWorld) -> None:
    start = sample_start(np.random.default_rng(3))
    world.reset(start)
    for _ in range(2000):
        world.step(LIMP)

    for block in (start.red, *start.others):
        position_m = world.block_position_m(block.colour)
        assert position_m[:2] == pytest.approx([block.x_m, block.y_m], abs=5e-4)
        assert position_m[2] == pytest.approx(0.0125, abs=5e-4)
        assert world.block_yaw_rad(block.colour) == pytest.approx(block.yaw_rad, abs=0.01)


def test_a_hand_moves_a_limp_arm_and_is_not_stronger_than_a_person(world: FollowerWorld) -> None:
    world.reset(start_at(REST_RAD))
    raised = np.deg2rad([10.0, 0.0, 0.0, 20.0, 30.0, 40.0])
    for _ in range(1500):
        world.step(LIMP, raised)

    assert np.rad2deg(np.abs(world.position_rad - raised)).max() < 2.0
    # Against a motor that pushes with more than the hand's limit, it gives way.
    for _ in range(300):
        world.step(np.array([8.0, 0, 0, 0, 0, 0]), raised)
    assert world.position_rad[0] > raised[0] + 0.1


def test_the_leader_follows_a_hand_more_lightly_than_the_follower_would() -> None:
    leader = LeaderArm()
    leader.reset(np.zeros(6))
    target = np.deg2rad([20.0, -20.0, 20.0, -20.0, 20.0, 20.0])
    for _ in range(400):
        leader.step(LIMP, target)

    assert np.rad2deg(np.abs(leader.position_rad - target)).max() < 2.0


def test_two_runs_are_equal_to_the_byte() -> None:
    def run() -> bytes:
        world = FollowerWorld()
        world.reset(sample_start(np.random.default_rng(11)))
        rng = np.random.default_rng(1)
        states = []
        for _ in range(60):
            torque_nm = rng.uniform(-0.5, 0.5, 6)
            for _ in range(10):
                world.step(torque_nm)
            states.append(world.data.qpos.tobytes())
        return b"".join(states)

    assert run() == run()


def test_a_reset_leaves_nothing_of_the_past() -> None:
    fresh, used = FollowerWorld(), FollowerWorld()
    for _ in range(300):
        used.step(np.full(6, 0.4), np.zeros(6))
    start = sample_start(np.random.default_rng(2))
    for world in (fresh, used):
        world.reset(start)
        for _ in range(100):
            world.step(LIMP)

    assert used.data.qpos.tobytes() == fresh.data.qpos.tobytes()
    assert used.data.time == pytest.approx(100 * STEP_S)


def test_up_is_a_block_above_six_centimetres(world: FollowerWorld) -> None:
    start = sample_start(np.random.default_rng(4))
    world.reset(start)

    assert not is_up(world)
    address = int(world.model.jnt_qposadr[world.model.body("red").jntadr[0]])
    world.data.qpos[address + 2] = 0.061
    assert is_up(world)


def test_a_start_survives_being_written_down() -> None:
    start = sample_start(np.random.default_rng(9))

    assert msgspec.convert(json.loads(msgspec.json.encode(start)), TaskStart) == start
