"""Six emulated STS3215 on one wire: what an SO-101 arm is to its serial port, and to its joints.

`handle` is the wire's side (bytes in, replies out), `step` the joints' (motion in, torque out),
both on the same servos. Nothing here knows a clock, a transport or a world, so one bank serves the
pty in real time, the memory port in virtual time, and a bench with a locked shaft. Deterministic:
the seed only draws how the horns are mounted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robot.errors import ConfigError
from robot.joints import SERVO_IDS, FloatVector
from robot.registers import BROADCAST_ID, EEPROM_END, Register
from sim.protocol import Instruction, Request, RequestParser
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
    """One status packet, and when its last byte comes: seconds after the request's last byte."""

    delay_s: float
    data: bytes


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
        self._is_booting = True
        # Ids whose data line is cut: they hear and say nothing, and go on with what they were told.
        self.unplugged: set[int] = set()

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
        if self._is_booting:
            # The first angle after power-up is the goal.
            self._is_booting = False
            for servo in self._servos:
                servo.rest_at_present()
        return self._torque_nm

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
        self._is_booting = True

    # -- power and flash -----------------------------------------------------------------------

    def power_cycle(self) -> None:
        """Lose power and get it back.

        RAM has its defaults then, EEPROM what was saved, torque is off, and the goal is the
        position of the next step.
        """
        for servo in self._servos:
            servo.power_cycle()
        self._is_booting = True

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
        delay_s = 0.0
        byte_s = BITS_A_BYTE / max(baud_hz, 1)
        for request in self._parser.feed(packet, now_s):
            for servo, data, extra_s in self._answers(request, baud_hz):
                delay_s += TURNAROUND_S + servo.return_delay_s + extra_s + byte_s * len(data)
                replies.append(Reply(delay_s, data))
        return replies

    def register(self, servo_id: int, register: Register) -> int:
        """Return a register's present count; for tests and displays.

        Args:
            servo_id: place on the arm, 1..6, whatever id the servo answers to.
            register: any register of the table.
        """
        return self._servos[SERVO_IDS.index(servo_id)].count(register)

    def _answers(self, request: Request, baud_hz: int) -> list[tuple[Servo, bytes, float]]:
        """Execute one request; return (servo, status packet, extra delay) of who answers."""
        if request.instruction == Instruction.SYNC_READ:
            return self._sync_read(request, baud_hz)
        if request.instruction == Instruction.SYNC_WRITE:
            self._sync_write(request, baud_hz)
            return []
        is_broadcast = request.id == BROADCAST_ID
        is_query = request.instruction in (Instruction.PING, Instruction.READ)
        answers: list[tuple[Servo, bytes, float]] = []
        for servo in self._listeners(None if is_broadcast else request.id, baud_hz):
            own_id, answers_all = servo.id, servo.is_answering_all
            outcome = servo.execute(request.instruction, request.parameters)
            if outcome is None:
                continue
            is_answering = (
                request.instruction == Instruction.PING if is_broadcast else is_query or answers_all
            )
            if is_answering:
                data, extra_s = outcome
                answers.append((servo, servo.status_packet(own_id, data), extra_s))
        return answers

    def _sync_read(self, request: Request, baud_hz: int) -> list[tuple[Servo, bytes, float]]:
        """Answer in the order of the list; skip the absent [a real one may wait for its slot]."""
        if request.id != BROADCAST_ID or len(request.parameters) < 3:
            return []
        address, size, *ids = request.parameters
        listeners = self._listeners(None, baud_hz)
        return [
            (servo, servo.status_packet(servo_id, servo.read(address, size)), 0.0)
            for servo_id in ids
            for servo in listeners
            if servo.id == servo_id
        ]

    def _sync_write(self, request: Request, baud_hz: int) -> None:
        parameters = request.parameters
        if request.id != BROADCAST_ID or len(parameters) < 2:
            return
        address, size = parameters[0], parameters[1]
        if size == 0 or (len(parameters) - 2) % (size + 1):
            return
        listeners = self._listeners(None, baud_hz)
        for at in range(2, len(parameters), size + 1):
            for servo in listeners:
                if servo.id == parameters[at]:
                    servo.write(address, parameters[at + 1 : at + 1 + size])

    def _listeners(self, servo_id: int | None, baud_hz: int) -> list[Servo]:
        """Return the servos that hear an id (None: all): none, one, or more if wrongly set up."""
        return [
            servo
            for place, servo in zip(SERVO_IDS, self._servos, strict=True)
            if servo_id in (None, servo.id)
            and abs(servo.baud_hz - baud_hz) < BAUD_TOLERANCE * servo.baud_hz
            and place not in self.unplugged
        ]
