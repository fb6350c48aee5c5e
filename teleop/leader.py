"""The leader arm as a goal source: the follower is asked to stand as a hand holds the leader."""

from typing import Protocol

from robot.joint_sample import JointSample
from robot.joints import FloatVector
from robot.loop import Goal


class LeaderReader(Protocol):
    """A leader, as this source sees it: `robot.arm.Leader`, or a host that reads one."""

    def read(self) -> JointSample:
        """Return the newest sample of six joints; raises ServoTimeout when the bus is silent."""
        ...


class LeaderGoals:
    """Ask the follower to stand as the leader stands; one bus read a tick.

    Leader and follower share one joint convention (degrees about the middle of the calibrated
    range, gripper percent), so the goal is the leader's position unchanged.
    """

    def __init__(self, leader: LeaderReader) -> None:
        self._leader = leader
        self.sample: JointSample | None = None  # newest leader sample, for listeners that record it

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        """Read the leader; the goal is as old as its oldest joint.

        A joint that fell silent keeps its last position: a mean would hide its age behind five
        fresh ones, and the limits would go on following a goal that is partly old.
        """
        sample = self._leader.read()
        self.sample = sample
        position_deg: FloatVector = sample.position_deg.copy()
        return Goal(position_deg=position_deg, made_s=float(sample.time_s.min()))
