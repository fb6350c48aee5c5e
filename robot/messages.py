"""What the control process and a session say to each other: msgspec structs in msgpack.

Samples and ticks travel as the dataclasses they are, their arrays as raw bytes (little-endian, as
on every machine this runs on); the other side gets equal dataclasses back. All times are seconds
of CLOCK_MONOTONIC, which the processes of one machine share.
"""

from types import UnionType
from typing import Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from robot import errors
from robot.errors import So101Error
from robot.health import GOOD, Health
from robot.joint_sample import JointSample
from robot.loop import Tick
from robot.torque import TorqueStates

SourceName = Literal["leader", "session"]
ControlPhase = Literal["idle", "drive", "rest"]


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Anything sent; the tag is the name of the class."""


# Exit codes of control. Held: a joint may still be powered, and the guard, to whom it said no
# good-bye, tries again.
LET_GO, HELD, REFUSED = 0, 1, 2


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An error on its way to the other process."""

    kind: str  # name of its class in `robot.errors`; another name: a defect
    sentence: str

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Return an error as it travels."""
        return cls(type(error).__name__, str(error))

    def rebuilt(self) -> Exception:
        """Return the error as it was over there."""
        kind = getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, So101Error):
            return kind(self.sentence)
        return RuntimeError(f"in the control process: {self.kind}: {self.sentence}")


# -- record stream: control to one reader, numbered ----------------------------------------------


class TickTold(Message, frozen=True):
    """One turn of the loop."""

    number: int
    generation: int  # of the drive
    tick: Tick


class Said(Message, frozen=True):
    """A sentence for the person, at its place between the ticks."""

    number: int
    time_s: float
    sentence: str


class DriveEnded(Message, frozen=True):
    """The last message of a drive."""

    number: int
    generation: int
    torque: TorqueStates
    failure: Failure | None  # what ended it; None: it was asked to


class Gap(Message, frozen=True):
    """The reader fell behind: these numbers are lost to it."""

    first: int
    last: int


Record = TickTold | Said | DriveEnded | Gap


# -- live stream: control to anybody, latest wins ------------------------------------------------


class Live(Message, frozen=True):
    """The newest sample, also told while torque is off, and how the last tick went."""

    number: int
    time_s: float
    phase: ControlPhase
    observed: JointSample
    lateness_s: float = 0.0  # of the wake-up behind its slot
    missed: int = 0  # slots lost since the drive began
    health: Health = GOOD


# -- goals: session to control, latest wins ------------------------------------------------------


class GoalAsked(Message, frozen=True):
    """A goal of the session's source, for the drive of that generation."""

    generation: int
    made_s: float
    position_deg: NDArray[np.float64]  # shape (6,)


# -- commands: session to control, each with one reply -------------------------------------------


class Hello(Message, frozen=True):
    """Ask for `Facts`; answered when everything is set up."""


class TorqueOn(Message, frozen=True):
    """Power the joints where they stand."""


class Rearm(Message, frozen=True):
    """Ramp again until goal and follower agree."""


class Drive(Message, frozen=True):
    """Follow a source; answered with `Driving` at once."""

    source: SourceName


class Stop(Message, frozen=True):
    """Come to rest and let go; answered with `Released`."""


class Off(Message, frozen=True):
    """Let go at once; answered with `Released`."""


class Bye(Message, frozen=True):
    """Let go and end; answered with `Released`."""


Command = Hello | TorqueOn | Rearm | Drive | Stop | Off | Bye


class Facts(Message, frozen=True):
    """What a session has to know of the arms that control has opened."""

    control_pid: int
    guard_pid: int
    follower_sha256: str  # of the calibration
    leader_sha256: str  # empty without a leader
    low_deg: NDArray[np.float64]  # shape (6,): lower ends of the calibrated ranges
    high_deg: NDArray[np.float64]  # upper ends
    gains: dict[str, list[int]]  # register name: value of each servo
    realtime: tuple[str, ...]  # what the system granted, and what permits the rest


class Done(Message, frozen=True):
    """It is done."""


class Driving(Message, frozen=True):
    """The drive begins; goals and the `DriveEnded` to wait for carry this number."""

    generation: int


class Released(Message, frozen=True):
    """The arm was let go of, with what was read back."""

    torque: TorqueStates


class Refused(Message, frozen=True):
    """It was not done."""

    failure: Failure


Answer = Facts | Done | Driving | Released | Refused


class Request(Message, frozen=True):
    """A command; control drops it once its deadline has passed, unless it lets go."""

    id: int
    deadline_s: float
    command: Command


class Reply(Message, frozen=True):
    """The answer to the request of that id."""

    id: int
    answer: Answer


class Codec[T]:
    """Encode any message; decode the ones of one type."""

    def __init__(self, expected: type[T] | UnionType) -> None:
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_array_to_bytes)
        self._decoder = msgspec.msgpack.Decoder(expected, dec_hook=_array_from_bytes)

    def encode(self, message: T) -> bytes:
        """Return the bytes of a message."""
        return self._encoder.encode(message)

    def decode(self, data: bytes) -> T:
        """Return the message; raises msgspec.DecodeError when it is none."""
        message: T = self._decoder.decode(data)
        return message


def _array_to_bytes(value: object) -> bytes:
    if not isinstance(value, np.ndarray):
        raise NotImplementedError(f"{type(value).__name__} cannot be sent")
    return value.tobytes()


def _array_from_bytes(expected: type, data: object) -> NDArray[np.generic]:
    """Rebuild an array of the annotated type; a copy, for a receiver may change what it got."""
    if not isinstance(data, bytes):
        raise TypeError("an array travels as bytes")
    dtype = get_args(get_args(expected)[1])[0]
    return np.frombuffer(data, dtype=dtype).copy()
