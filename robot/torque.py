"""The three torque states of a joint, and letting an arm go so that they are known.

Torque-off is broadcast twice and read back from every servo; an error byte, a silent servo or a
wire that is gone never ends it early, and it takes less than a second even if nobody answers.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from robot.bus import ServoBus
from robot.errors import NotConnected, So101Error
from robot.joints import JOINTS
from robot.packets import BlockRead
from robot.registers import TORQUE_ENABLE

# For all that is tried: so long is a servo asked that does not answer or does not obey.
RELEASE_LIMIT_S = 0.5
RELEASE_MARGIN_S = 0.025  # for one reply, beyond wire time
_BROADCASTS = 2


class TorqueState(StrEnum):
    """What is known of one joint's torque."""

    OFF = "off (read back)"
    ON = "on (read back)"
    UNREACHABLE = "not reachable: cut the power"


@dataclass(frozen=True, slots=True)
class TorqueStates:
    """The state of six joints, in the order of `JOINTS`; `str()` is one sentence for a person."""

    joints: tuple[TorqueState, ...]

    @classmethod
    def of_all(cls, state: TorqueState) -> "TorqueStates":
        """Return the same state for all joints."""
        return cls((state,) * len(JOINTS))

    @property
    def is_off(self) -> bool:
        """Whether every joint was read back as off."""
        return all(state is TorqueState.OFF for state in self.joints)

    @property
    def is_reachable(self) -> bool:
        """Whether every joint's state is known."""
        return TorqueState.UNREACHABLE not in self.joints

    def __str__(self) -> str:
        """Say one state for all, or the worst first with the joints that it holds for."""
        parts: list[str] = []
        for state in (TorqueState.UNREACHABLE, TorqueState.ON, TorqueState.OFF):
            names = [
                name for name, found in zip(JOINTS, self.joints, strict=True) if found is state
            ]
            if len(names) == len(JOINTS):
                return str(state)
            if names:
                parts.append(f"{', '.join(names)} {state}")
        return "; ".join(parts)


def release_torque(bus: ServoBus) -> TorqueStates:
    """Let all joints go and return what was read back; never raises."""
    states = dict.fromkeys(bus.ids, TorqueState.UNREACHABLE)
    give_up_s = bus.clock.now_s() + RELEASE_LIMIT_S
    margin_s, bus.port.margin_s = bus.port.margin_s, RELEASE_MARGIN_S
    try:
        _broadcast(bus, states)
        while bus.clock.now_s() < give_up_s and set(states.values()) != {TorqueState.OFF}:
            for servo_id, state in states.items():
                if state is not TorqueState.OFF and bus.clock.now_s() < give_up_s:
                    states[servo_id] = _release_one(bus, servo_id, state)
    except NotConnected:
        pass  # the wire is gone: what was read back before stands
    finally:
        bus.port.margin_s = margin_s
    return TorqueStates(tuple(states.values()))


@contextmanager
def telling_torque(states: Callable[[], TorqueStates]) -> Generator[None]:
    """Add the torque states to the sentence of an error, unless every joint was read back as off.

    Raises:
        So101Error: of the same class as the one that came.
    """
    try:
        yield
    except So101Error as error:
        known = states()
        if known.is_off:
            raise
        raise type(error)(f"{error}. Torque: {known}") from error


def _broadcast(bus: ServoBus, states: dict[int, TorqueState]) -> None:
    """Tell all at once and read all back at once, until all have answered or twice."""
    block = BlockRead(TORQUE_ENABLE, bus.ids)
    for _ in range(_BROADCASTS):
        bus.broadcast_torque_off()
        for servo_id, data in bus.read_block(block).data.items():
            states[servo_id] = TorqueState.OFF if data == b"\0" else TorqueState.ON
        if all(state is TorqueState.OFF for state in states.values()):
            return


def _release_one(bus: ServoBus, servo_id: int, known: TorqueState) -> TorqueState:
    """Tell one servo, which did not answer with the others or is still on, and read it back.

    Raises:
        NotConnected: the wire is gone.
    """
    try:
        if bus.read(servo_id, TORQUE_ENABLE, tries=1) == 0:
            return TorqueState.OFF
        known = TorqueState.ON
        bus.write(servo_id, TORQUE_ENABLE, 0, tries=1)
        is_off = bus.read(servo_id, TORQUE_ENABLE, tries=1) == 0
    except NotConnected:
        raise
    except So101Error:
        return known
    return TorqueState.OFF if is_off else TorqueState.ON
