"""What a fault does to the emulated servos while it lasts: begin, go on, end.

Only what happens *to* a servo is here; what it makes of it (overload latch, torque cut at 70 °C,
voltage bit, loss of RAM) is its own, in `servo_motor.py` and `single_servo.py`. An end takes the
cause away, never the effect: a tripped servo stays tripped, a hot one cools by itself.
"""

from collections.abc import Callable
from typing import Protocol

from robot import registers
from robot.joints import SERVO_IDS
from sim.faults import Fault, FaultKind
from sim.servo import ServoBank
from sim.servo_motor import OVERLOAD_BIT
from sim.servo_registers import BAUD_RATES_HZ

LOAD_PCT = 100.0
HOT_CELSIUS = 80.0
CELSIUS_PER_S = 5.0
PUSH_NM = 1.5  # against any joint but a stretched shoulder: stall is 1.9 Nm at 7.4 V
LOW_V = 3.8  # below the factory's limit of 4.0 V
OTHER_BAUD_HZ = 500_000


class ServoEffect(Protocol):
    """One fault at work on one bank."""

    def begin(self) -> None:
        """Start it."""
        ...

    def go_on(self, elapsed_s: float) -> None:
        """Do what it does with time; called every 10 ms or so, and before each request."""
        ...

    def end(self) -> None:
        """Take the cause away."""
        ...


class _Lasting:
    """An effect that needs nothing while it lasts."""

    def __init__(self, bank: ServoBank, fault: Fault) -> None:
        self._bank = bank
        self._fault = fault
        self._motors = [bank.motors[SERVO_IDS.index(place)] for place in fault.servos]

    def begin(self) -> None:
        """Start it."""

    def go_on(self, elapsed_s: float) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Take the cause away."""


class Jam(_Lasting):
    """The servo needs most of its output, so that its own protection trips."""

    def begin(self) -> None:
        """Strain it."""
        share = _given(self._fault.load_pct, LOAD_PCT) / 100
        for motor in self._motors:
            motor.strain = share

    def end(self) -> None:
        """Let it run free."""
        for motor in self._motors:
            motor.strain = 0.0


class ForcedOverload(_Lasting):
    """The latch is set, and set again whenever a goal has cleared it, `count` times in all."""

    def begin(self) -> None:
        """Set it."""
        self._left = self._fault.count
        self.go_on(0.0)

    def go_on(self, elapsed_s: float) -> None:
        """Set it again where it is clear."""
        clear = [motor for motor in self._motors if not motor.status & OVERLOAD_BIT]
        if clear and self._left != 0:
            self._left = None if self._left is None else self._left - 1
            for motor in clear:
                motor.trip_overload()


class Heating(_Lasting):
    """The servo warms up to a temperature, and stays there."""

    def go_on(self, elapsed_s: float) -> None:
        """Warm it."""
        target = _given(self._fault.celsius, HOT_CELSIUS)
        rise = _given(self._fault.celsius_per_s, CELSIUS_PER_S) * elapsed_s
        for motor in self._motors:
            motor.celsius = max(motor.celsius, min(motor.celsius + rise, target))


class Push(_Lasting):
    """Something turns the joint."""

    def begin(self) -> None:
        """Push."""
        self._push(_given(self._fault.torque_nm, PUSH_NM))

    def end(self) -> None:
        """Let go."""
        self._push(0.0)

    def _push(self, torque_nm: float) -> None:
        for place in self._fault.servos:
            self._bank.push(place, torque_nm)


class Supply(_Lasting):
    """Another voltage at the servo."""

    def begin(self) -> None:
        """Change it."""
        self._before_v = [motor.supply_v for motor in self._motors]
        for motor in self._motors:
            motor.supply_v = _given(self._fault.supply_v, LOW_V)

    def end(self) -> None:
        """Change it back."""
        for motor, supply_v in zip(self._motors, self._before_v, strict=True):
            motor.supply_v = supply_v


class Outage(_Lasting):
    """No supply, then supply again."""

    def begin(self) -> None:
        """Switch off."""
        self._bank.power_off(self._fault.servos)

    def end(self) -> None:
        """Switch on."""
        self._bank.power_on(self._fault.servos)


class OtherBaud(_Lasting):
    """A servo listens at another speed; its flash says the old one."""

    def begin(self) -> None:
        """Change it."""
        wanted_hz = _given(self._fault.baud_hz, OTHER_BAUD_HZ)
        nearest_hz = min(BAUD_RATES_HZ, key=lambda hz: abs(hz - wanted_hz))
        self._before = [
            self._bank.register(place, registers.BAUD_RATE) for place in self._fault.servos
        ]
        for place in self._fault.servos:
            self._bank.overwrite(place, registers.BAUD_RATE, BAUD_RATES_HZ.index(nearest_hz))

    def end(self) -> None:
        """Change it back."""
        for place, count in zip(self._fault.servos, self._before, strict=True):
            self._bank.overwrite(place, registers.BAUD_RATE, count)


class SameId(_Lasting):
    """Another servo answers to this servo's id, and not to its own."""

    def begin(self) -> None:
        """Change its id."""
        first = self._fault.servos[0]
        self._other = self._fault.other or first % SERVO_IDS[-1] + 1
        self._before = self._bank.register(self._other, registers.ID)
        wanted = self._bank.register(first, registers.ID)
        self._bank.overwrite(self._other, registers.ID, wanted)

    def end(self) -> None:
        """Change it back."""
        self._bank.overwrite(self._other, registers.ID, self._before)


def servo_effect(bank: ServoBank, fault: Fault) -> ServoEffect | None:
    """Return what a fault does to the servos; None where it is of packets or of the port."""
    if fault.kind == "overload":
        return ForcedOverload(bank, fault) if fault.is_forced else Jam(bank, fault)
    make = _EFFECTS.get(fault.kind)
    return None if make is None else make(bank, fault)


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


_EFFECTS: dict[FaultKind, Callable[[ServoBank, Fault], ServoEffect]] = {
    "overheat": Heating,
    "push": Push,
    "voltage": Supply,
    "brownout": Outage,
    "baud": OtherBaud,
    "duplicate": SameId,
}
