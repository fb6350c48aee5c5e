"""What is said to a mock bus and what it answers: one JSON line each, on its standard streams."""

from typing import Literal

import msgspec

from sim.faults import ArmName, Fault

MotionName = Literal["still", "wave", "jumps"]


class Ready(msgspec.Struct, frozen=True):
    """The first line: the arms are there."""

    leader: str  # serial devices
    follower: str
    pid: int
    is_fifo: bool  # it runs with real-time priority, so that load delays it as little as hardware


class Begin(msgspec.Struct, tag="begin", frozen=True, forbid_unknown_fields=True):
    """Forget what was noted; answered with Done."""


class Move(msgspec.Struct, tag="move", frozen=True, forbid_unknown_fields=True):
    """Let the leader's joints stand still, swing, or jump; answered with Done.

    `wave`: all joints, `size_ticks` to both sides of the middle, once in `period_s`. `jumps`: the
    first joint by `size_ticks` to and fro, each time after `period_s` times 0.5 to 1.5, drawn.
    """

    motion: MotionName
    size_ticks: int = 8
    period_s: float = 0.3


class Inject(msgspec.Struct, tag="inject", frozen=True, forbid_unknown_fields=True):
    """Let a fault of an arm begin; answered with Done."""

    fault: Fault
    arm: ArmName = "follower"


class ClearFaults(msgspec.Struct, tag="clear_faults", frozen=True, forbid_unknown_fields=True):
    """End all faults; answered with Done."""


class Stamp(msgspec.Struct, tag="stamp", frozen=True, forbid_unknown_fields=True):
    """Show the servos' own clock in registers 67..68, or no longer; answered with Done."""

    is_on: bool


class AskRegisters(msgspec.Struct, tag="registers", frozen=True, forbid_unknown_fields=True):
    """Ask for a register of the six, from the servos and not over the bus: Registers."""

    arm: ArmName
    name: str  # LeRobot's spelling, as in `registers.NAMES`


class AskPaths(msgspec.Struct, tag="paths", frozen=True, forbid_unknown_fields=True):
    """Ask where the arms are now; answered with Paths."""


class AskLog(msgspec.Struct, tag="log", frozen=True, forbid_unknown_fields=True):
    """Ask for what was noted since Begin; answered with Log."""


Request = Begin | Move | Inject | ClearFaults | Stamp | AskRegisters | AskPaths | AskLog


class Done(msgspec.Struct, frozen=True):
    """It is done; or why not."""

    now_s: float
    error: str = ""


class Registers(msgspec.Struct, frozen=True):
    """Counts in the order of the arm's places; or why not."""

    counts: list[int]
    error: str = ""


class Paths(msgspec.Struct, frozen=True):
    """Serial devices; empty where an adapter is unplugged."""

    leader: str
    follower: str


class Goal(msgspec.Struct, frozen=True, array_like=True):
    """A packet of goal positions at the follower."""

    time_s: float  # of its last byte on the wire
    ticks: list[int]  # one a servo id in it, by id


class Change(msgspec.Struct, frozen=True, array_like=True):
    """The leader's first joint reads another value from now on (`jumps`)."""

    time_s: float
    ticks: int  # by how much


class Log(msgspec.Struct, frozen=True):
    """What the mock bus saw since Begin; times on the machine's monotonic clock."""

    began_s: float
    ended_s: float
    goals: list[Goal]
    changes: list[Change]
    leader_reads_s: list[float]  # when each block read of the leader had come
    pacing_s: list[float]  # how much later than due each answer left
    cpu_s: float  # of the mock bus itself
