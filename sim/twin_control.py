"""What a script may ask of a twin: set the scene, lend a hand, break something, say how it stands.

Two implementations: directly on the twin (virtual time), and over the control socket of a running
one. Requests and replies are msgspec structs in JSON, so that a person can read and type them.
"""

from typing import Protocol

import msgspec
import zmq

from robot.errors import ConfigError, NotConnected, So101Error
from sim.faults import Fault
from sim.tasks.pick_red import TaskStart
from sim.twin_core import ARM_NAMES, ArmName, HandName, Twin

REPLY_TIMEOUT_S = 3.0  # a placed scene is computed in milliseconds; the twin serves its buses first


class TwinStatus(msgspec.Struct, frozen=True):
    """How things stand on the twin's table."""

    time_s: float  # of the twin, on the rig's clock
    hand_done: dict[ArmName, bool]
    success: bool  # the task has been done since the scene was placed
    red_height_m: float
    lost_s: float = 0.0  # real time in which the world could not keep up
    faults: dict[ArmName, list[str]] = {}  # those that have not ended


class TwinControl(Protocol):
    """The twin's stage hand."""

    def reset(self, seed: int) -> TaskStart:
        """Draw a start from a seed, put arms and blocks there, and return it."""
        ...

    def place(self, start: TaskStart) -> None:
        """Put arms and blocks where `start` says."""
        ...

    def set_hand(self, arm: ArmName, hand: HandName, seed: int = 0) -> None:
        """Let a hand take an arm, or `none` let it go."""
        ...

    def inject(self, fault: Fault, arm: ArmName = "follower") -> None:
        """Let a fault of an arm begin, `after_s` from now."""
        ...

    def clear_faults(self) -> None:
        """End all faults of both arms; what they did to the servos stays done."""
        ...

    def status(self) -> TwinStatus:
        """Return how things stand now."""
        ...


class DirectControl:
    """Control of a twin in the same process."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin

    def reset(self, seed: int) -> TaskStart:
        """Draw a start, put everything there."""
        return self._twin.reset(seed)

    def place(self, start: TaskStart) -> None:
        """Put everything where `start` says."""
        self._twin.place(start)

    def set_hand(self, arm: ArmName, hand: HandName, seed: int = 0) -> None:
        """Let a hand take an arm."""
        self._twin.set_hand(arm, hand, seed)

    def inject(self, fault: Fault, arm: ArmName = "follower") -> None:
        """Let a fault begin."""
        injector = self._twin.faults[arm]
        injector.add(fault)
        injector.advance(self._twin.now_s)

    def clear_faults(self) -> None:
        """End all faults."""
        for injector in self._twin.faults.values():
            injector.clear()

    def status(self) -> TwinStatus:
        """Return how things stand now."""
        twin = self._twin
        return TwinStatus(
            time_s=twin.now_s,
            hand_done={arm: twin.is_hand_done(arm) for arm in ARM_NAMES},
            success=twin.is_success,
            red_height_m=twin.red_height_m,
            lost_s=twin.lost_s,
            faults={arm: [str(f) for f in twin.faults[arm].faults] for arm in ARM_NAMES},
        )


class ResetRequest(msgspec.Struct, tag="reset", frozen=True, forbid_unknown_fields=True):
    """Ask for a start drawn from a seed."""

    seed: int


class PlaceRequest(msgspec.Struct, tag="place", frozen=True, forbid_unknown_fields=True):
    """Ask for a given start."""

    start: TaskStart


class HandRequest(msgspec.Struct, tag="hand", frozen=True, forbid_unknown_fields=True):
    """Ask a hand to take an arm."""

    arm: ArmName
    hand: HandName
    seed: int = 0


class InjectRequest(msgspec.Struct, tag="inject", frozen=True, forbid_unknown_fields=True):
    """Ask for a fault of an arm."""

    fault: Fault
    arm: ArmName = "follower"


class ClearFaultsRequest(msgspec.Struct, tag="clear_faults", frozen=True):
    """Ask for the end of all faults."""


class StatusRequest(msgspec.Struct, tag="status", frozen=True, forbid_unknown_fields=True):
    """Ask how things stand."""


class Reply(msgspec.Struct, frozen=True):
    """The answer to any request: an error's sentence, or what was asked for."""

    error: str = ""
    start: TaskStart | None = None
    status: TwinStatus | None = None


Request = (
    ResetRequest | PlaceRequest | HandRequest | InjectRequest | ClearFaultsRequest | StatusRequest
)
_REQUEST = msgspec.json.Decoder(Request)
_REPLY = msgspec.json.Decoder(Reply)


def answer(control: TwinControl, message: bytes) -> bytes:
    """Do what a request says and return the reply; what is wrong with it becomes its reply."""
    try:
        reply = _do(control, _REQUEST.decode(message))
    except msgspec.DecodeError as error:
        reply = Reply(error=f"the twin does not understand the request: {error}")
    except So101Error as error:
        reply = Reply(error=str(error))
    return msgspec.json.encode(reply)


def _do(control: TwinControl, request: Request) -> Reply:
    match request:
        case ResetRequest(seed=seed):
            return Reply(start=control.reset(seed))
        case PlaceRequest(start=start):
            control.place(start)
        case HandRequest(arm=arm, hand=hand, seed=seed):
            control.set_hand(arm, hand, seed)
        case InjectRequest(fault=fault, arm=arm):
            control.inject(fault, arm)
        case ClearFaultsRequest():
            control.clear_faults()
        case StatusRequest():
            return Reply(status=control.status())
    return Reply()


class RemoteControl:
    """Control of a running twin over its control socket; for one thread."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._connect()

    def reset(self, seed: int) -> TaskStart:
        """Draw a start, put everything there."""
        start = self._ask(ResetRequest(seed)).start
        if start is None:
            raise NotConnected(
                f"the twin at {self._address} gave no start: it is of another version; restart it"
            )
        return start

    def place(self, start: TaskStart) -> None:
        """Put everything where `start` says."""
        self._ask(PlaceRequest(start))

    def set_hand(self, arm: ArmName, hand: HandName, seed: int = 0) -> None:
        """Let a hand take an arm."""
        self._ask(HandRequest(arm, hand, seed))

    def inject(self, fault: Fault, arm: ArmName = "follower") -> None:
        """Let a fault begin."""
        self._ask(InjectRequest(fault, arm))

    def clear_faults(self) -> None:
        """End all faults."""
        self._ask(ClearFaultsRequest())

    def status(self) -> TwinStatus:
        """Return how things stand now."""
        status = self._ask(StatusRequest()).status
        if status is None:
            raise NotConnected(
                f"the twin at {self._address} gave no status: it is of another version; restart it"
            )
        return status

    def close(self) -> None:
        """Close the connection; may be called twice."""
        if not self._context.closed:
            self._socket.close(linger=0)
            self._context.term()

    def _connect(self) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.REQ)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, int(REPLY_TIMEOUT_S * 1000))
        socket.setsockopt(zmq.SNDTIMEO, int(REPLY_TIMEOUT_S * 1000))
        socket.connect(self._address)
        return socket

    def _ask(self, request: Request) -> Reply:
        try:
            self._socket.send(msgspec.json.encode(request))
            reply = _REPLY.decode(self._socket.recv())
        except zmq.Again as error:
            # A REQ socket that got no answer accepts no further question.
            self._socket.close(linger=0)
            self._socket = self._connect()
            raise NotConnected(
                f"the twin does not answer at {self._address}; "
                "check that `so101 twin` still runs, or start it again"
            ) from error
        if reply.error:
            raise ConfigError(reply.error)
        return reply


def connect_control(address: str) -> RemoteControl:
    """Connect to the control socket of a running twin (`TwinManifest.control`)."""
    return RemoteControl(address)
