"""What is said to the process of the emulated arms, and what it answers: one JSON line each."""

import msgspec


class ArmsReady(msgspec.Struct, frozen=True):
    """The arms are there."""

    leader: str  # serial devices
    follower: str
    is_fifo: bool  # it runs with real-time priority, so that load delays it as little as hardware


class Begin(msgspec.Struct, tag="begin", frozen=True):
    """Forget what was noted so far; answered with Begun."""


class Begun(msgspec.Struct, frozen=True):
    """A window has begun."""

    now_s: float


class Report(msgspec.Struct, tag="report", frozen=True):
    """Ask for what was noted since Begin; answered with ArmsLog."""


class CountGoals(msgspec.Struct, tag="count", frozen=True):
    """Ask how many goals came since Begin; answered with GoalCount."""


class GoalCount(msgspec.Struct, frozen=True):
    """How many goals came."""

    goals: int


class Fidget(msgspec.Struct, tag="fidget", frozen=True):
    """Let the leader's first joint jump by a few ticks now and then, or stop; answered Begun."""

    is_on: bool


class AddFault(msgspec.Struct, tag="fault", frozen=True):
    """Let something go wrong from now on, as `so101 twin --fault` says it; answered Begun."""

    text: str


class Wander(msgspec.Struct, tag="wander", frozen=True):
    """Let the leader's joints move all the time, and keep every status packet; answered Begun."""


class Harvest(msgspec.Struct, tag="harvest", frozen=True):
    """Ask for what was kept since the last Harvest, and forget it; answered with Harvested."""


class Told(msgspec.Struct, frozen=True, array_like=True):
    """One status packet with at least two bytes of data, as a servo made it."""

    time_s: float  # of the request, on the emulator's own clock
    place: int  # 1..6
    ticks: int  # the first two bytes: the position, where positions were asked for


class Harvested(msgspec.Struct, frozen=True):
    """What was kept."""

    now_s: float
    leader: list[Told]
    follower: list[Told]
    goals_s: list[float]  # arrivals of goals at the follower


class LetGo(msgspec.Struct, tag="let_go", frozen=True):
    """Switch all torque off, as pulling the plug would; answered with Torque."""


class AskTorque(msgspec.Struct, tag="torque", frozen=True):
    """Ask for the torque registers; answered with Torque."""


class Torque(msgspec.Struct, frozen=True):
    """Register 40 of each servo."""

    leader: list[int]
    follower: list[int]


class Goal(msgspec.Struct, frozen=True, array_like=True):
    """A goal packet at the follower."""

    time_s: float  # of its last byte on the wire
    ticks: list[int]


class Change(msgspec.Struct, frozen=True, array_like=True):
    """The leader's first joint now reads another value."""

    time_s: float
    ticks: int  # by how much


class ArmsLog(msgspec.Struct, frozen=True):
    """What the emulator saw since Begin; all times on the machine's monotonic clock."""

    began_s: float
    ended_s: float
    goals: list[Goal]
    changes: list[Change]
    leader_samples_s: list[float]  # when the leader's servos took the values of a block read
    pacing_s: list[float]  # how much later than due each reply left
    cpu_s: float  # of the emulator


Request = Begin | Report | CountGoals | Fidget | AddFault | Wander | Harvest | LetGo | AskTorque
