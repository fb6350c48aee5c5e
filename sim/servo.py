"""Six emulated STS3215 on one wire: what an SO-101 arm is to its serial port, and to its joints.

`handle` is the wire's side (bytes in, replies out), `step` the joints' (motion in, torque out),
both on the same servos. Nothing here knows a clock, a transport or a world, so one bank serves the
pty in real time, the memory port in virtual time, and a bench with a locked shaft. Deterministic:
the seed only draws how the horns are mounted.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import numpy as np

from robot.errors import ConfigError
from robot.joints import SERVO_IDS, FloatVector
from robot.registers import EEPROM_END, Register
from sim.answering import execute
from sim.protocol import Request, RequestParser
from sim.servo_motor import FOLLOWER_GEAR, PROTECTION_TICK_S, SUPPLY_V, GearSpec, Motor
from sim.single_servo import Servo

SERVOS = len(SERVO_IDS)
# Gap before each reply at Return_Delay 0 [unpublished; 10..100 us is plausible].
TURNAROUND_S = 10e-6
BITS_A_BYTE = 10  # 8N1
BAUD_TOLERANCE = 0.03  # what a UART bears
MOUNT_TICKS = 500  # a horn fits on any tooth: how far from the middle an arm's zero may lie


@dataclass(frozen=True, slots=True)
class Reply:
    """One status packet, and when its last byte comes: seconds after the request's last byte.

    `late_s` is what an adapter or a host holds it back beyond that: the wire is free meanwhile.
    """

    delay_s: float
    data: bytes
    servo: int = 0  # place on the arm, 1..6; 0: not a servo's (an echo)
    late_s: float = 0.0


class ServoBank:
    """Six servos with ids 1..6, powered up, in the order of `joints.JOINTS`."""

    def __init__(
        self,
        supply_v: float = SUPPLY_V,
        seed: int = 0,
        mount_ticks: Sequence[int] | None = None,
        gear: GearSpec = FOLLOWER_GEAR,
        step_s: float = 0.001,
    ) -> None:
        drawn = np.random.default_rng(seed).integers(-MOUNT_TICKS, MOUNT_TICKS + 1, SERVOS)
        mounts = drawn.tolist() if mount_ticks is None else mount_ticks
        self._servos = tuple(
            Servo(servo_id, int(mount), supply_v, relative, step_s)
            for servo_id, mount, relative in zip(SERVO_IDS, mounts, gear.relative, strict=True)
        )
        self.motors: tuple[Motor, ...] = tuple(servo.motor for servo in self._servos)
        self._parser = RequestParser()
        self._torque_nm: FloatVector = np.zeros(SERVOS)
        self._steps = 0
        self._protect_every = round(PROTECTION_TICK_S / step_s)
        # Places whose data line is cut: they hear and say nothing, and go on with their last goal.
        self.unplugged: set[int] = set()
        self._unpowered: set[int] = set()
        self._booting: set[int] = set(SERVO_IDS)
        self._push_nm: FloatVector | None = None
        # Told of every status packet when it is made: time of the request, place, packet. For tests
        # that check how old what a host shows is.
        self.on_status: Callable[[float, int, bytes], None] | None = None
        self._is_stamping = False

    # -- joints --------------------------------------------------------------------------------

    def step(self, position_rad: FloatVector, velocity_rad_s: FloatVector) -> FloatVector:
        """Advance by one step of the world; return torques in Nm, shape (6,), reused each call."""
        a, b, c, d, e, f = self.motors
        p, v = position_rad.tolist(), velocity_rad_s.tolist()
        self._torque_nm[:] = (
            a.step(p[0], v[0]),
            b.step(p[1], v[1]),
            c.step(p[2], v[2]),
            d.step(p[3], v[3]),
            e.step(p[4], v[4]),
            f.step(p[5], v[5]),
        )
        self._steps += 1
        if self._steps % self._protect_every == 0:
            for motor in self.motors:
                motor.protect()
        if self._booting:
            # The first angle after power-up is the goal.
            for servo_id in self._booting:
                self._servo(servo_id).rest_at_present()
            self._booting.clear()
        if self._push_nm is not None:
            self._torque_nm += self._push_nm
        return self._torque_nm

    def push(self, servo_id: int, torque_nm: float) -> None:
        """Turn a joint with this torque from outside, from now on; 0 lets it go.

        It is part of what `step` returns, and unknown to the servo.
        """
        push_nm = np.zeros(SERVOS) if self._push_nm is None else self._push_nm
        push_nm[SERVO_IDS.index(servo_id)] = torque_nm
        self._push_nm = push_nm if push_nm.any() else None

    @property
    def supply_v(self) -> float:
        """Voltage at the servos' connectors; may be changed at any time."""
        return self.motors[0].supply_v

    @supply_v.setter
    def supply_v(self, supply_v: float) -> None:
        for motor in self.motors:
            motor.supply_v = supply_v

    def reseat(self) -> None:
        """Take the next angle as goal: the scene was set anew, and no servo has a way to go."""
        self._booting.update(SERVO_IDS)

    # -- power and flash -----------------------------------------------------------------------

    def power_cycle(self) -> None:
        """Lose power and get it back.

        RAM has its defaults then, EEPROM what was saved, torque is off, and the goal is the
        position of the next step.
        """
        self.power_off(SERVO_IDS)
        self.power_on(SERVO_IDS)

    def power_off(self, servo_ids: Sequence[int]) -> None:
        """Take the supply of some servos away: they neither move nor hear nor answer."""
        self._unpowered.update(servo_ids)
        for servo_id in servo_ids:
            self._servo(servo_id).power_cycle()

    def power_on(self, servo_ids: Sequence[int]) -> None:
        """Give some servos their supply back, as in `power_cycle`."""
        self._unpowered.difference_update(servo_ids)
        for servo_id in servo_ids:
            self._servo(servo_id).power_cycle()
        self._booting.update(servo_ids)

    def eeprom(self) -> bytes:
        """Return what outlives power-off: 40 bytes a servo, in order."""
        return b"".join(servo.saved for servo in self._servos)

    def load_eeprom(self, data: bytes) -> None:
        """Put saved EEPROM contents in place and power-cycle.

        Raises:
            ConfigError: they are not of six servos.
        """
        if len(data) != SERVOS * EEPROM_END:
            raise ConfigError(
                f"saved EEPROM has {len(data)} bytes, six servos need {SERVOS * EEPROM_END}; "
                "delete the file to start from factory values"
            )
        for index, servo in enumerate(self._servos):
            servo.saved = data[index * EEPROM_END : (index + 1) * EEPROM_END]
        self.power_cycle()

    # -- wire ----------------------------------------------------------------------------------

    def handle(self, packet: bytes, now_s: float, baud_hz: int = 1_000_000) -> list[Reply]:
        """Take the next bytes of the wire, in any chunks; return the replies they call for.

        Servos set to another baud rate hear nothing.
        """
        replies: list[Reply] = []
        for request in self.requests(packet, now_s):
            start_s = replies[-1].delay_s if replies else 0.0
            replies += self.answer(request, now_s, baud_hz, start_s=start_s)
        return replies

    def requests(self, packet: bytes, now_s: float) -> list[Request]:
        """Take the next bytes of the wire; return the requests that they complete."""
        return self._parser.feed(packet, now_s)

    def answer(
        self,
        request: Request,
        now_s: float,
        baud_hz: int,
        *,
        start_s: float = 0.0,
        deaf: Container[int] = (),
    ) -> list[Reply]:
        """Execute one request; return the replies, each after the one before.

        Args:
            request: what the host asked.
            now_s: when.
            baud_hz: at which speed.
            start_s: when the first servo may begin to answer, after the request.
            deaf: places that do not hear it.
        """
        if self._is_stamping:
            for servo in self._servos:
                servo.clock_ms = round(now_s * 1000)
        replies: list[Reply] = []
        delay_s = start_s
        byte_s = BITS_A_BYTE / max(baud_hz, 1)
        for place, data, pause_s in execute(request, self._listeners(baud_hz, deaf)):
            delay_s += TURNAROUND_S + pause_s + byte_s * len(data)
            replies.append(Reply(delay_s, data, place))
            if self.on_status is not None:
                self.on_status(now_s, place, data)
        return replies

    def stamp(self, *, is_on: bool) -> None:
        """Show the servos' own clock in registers 67..68, or the goal's echo again.

        The time of `handle` in milliseconds, modulo 65536. No driver here reads the echo, and a
        block read of the present values carries it: so a test can tell how old its data is.
        """
        self._is_stamping = is_on
        for servo in self._servos:
            servo.clock_ms = None

    def register(self, servo_id: int, register: Register) -> int:
        """Return a register's present count; for tests and displays.

        Args:
            servo_id: place on the arm, 1..6, whatever id the servo answers to.
            register: any register of the table.
        """
        return self._servo(servo_id).count(register)

    def overwrite(self, servo_id: int, register: Register, count: int) -> None:
        """Change a register as no host can: read-only ones too, and never in flash; for faults."""
        self._servo(servo_id).put(register, count)

    def _servo(self, servo_id: int) -> Servo:
        return self._servos[SERVO_IDS.index(servo_id)]

    def _listeners(self, baud_hz: int, deaf: Container[int]) -> list[tuple[int, Servo]]:
        """Return the servos that hear this speed, with their places."""
        return [
            (place, servo)
            for place, servo in zip(SERVO_IDS, self._servos, strict=True)
            if abs(servo.baud_hz - baud_hz) < BAUD_TOLERANCE * servo.baud_hz
            and place not in self.unplugged
            and place not in self._unpowered
            and place not in deaf
        ]
