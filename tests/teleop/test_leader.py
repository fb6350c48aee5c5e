import numpy as np

from robot.joint_sample import JointSample
from robot.joints import FloatVector
from teleop.leader import LeaderGoals


def sample(position_deg: FloatVector, time_s: FloatVector) -> JointSample:
    zero = np.zeros(6)
    return JointSample(time_s, position_deg, zero, zero, zero, zero, zero, (0,) * 6)


class HandHeldLeader:
    """A leader that stands where it was last put; a new sample a read, as from a real one."""

    def __init__(self) -> None:
        self.position_deg: FloatVector = np.zeros(6)
        self.time_s: FloatVector = np.zeros(6)
        self.reads = 0

    def read(self) -> JointSample:
        self.reads += 1
        return sample(self.position_deg, self.time_s)


def test_goal_is_the_leaders_position_as_old_as_its_oldest_joint() -> None:
    leader = HandHeldLeader()
    leader.position_deg = np.array([1.0, -2.0, 3.0, -4.0, 5.0, 60.0])
    leader.time_s = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.4])  # the gripper's reply is missing
    source = LeaderGoals(leader)

    goal = source.goal(sample(np.zeros(6), np.full(6, 1.0)), now_s=1.01)

    np.testing.assert_array_equal(goal.position_deg, leader.position_deg)
    assert goal.made_s == 0.4


def test_each_tick_reads_the_leader_once_and_keeps_no_reference() -> None:
    leader = HandHeldLeader()
    source = LeaderGoals(leader)
    observed = sample(np.zeros(6), np.zeros(6))
    first = source.goal(observed, 0.0)
    leader.position_deg += 10.0
    second = source.goal(observed, 0.01)

    assert leader.reads == 2
    np.testing.assert_array_equal(first.position_deg, np.zeros(6))
    np.testing.assert_array_equal(second.position_deg, np.full(6, 10.0))
    assert source.sample is not None
    np.testing.assert_array_equal(source.sample.position_deg, np.full(6, 10.0))
