"""Six emulated STS3215 on one wire: what an SO-101 arm is to its serial port, and to its joints.

`handle` is the wire's side (bytes in, replies out), `step` the joint's side (motion in, torque
out), both on the same servos. Nothing here knows a clock, a transport or a world, so the same bank
serves the pty in real time, the memory port in virtual time, and a bench with a locked shaft.
Deterministic: the seed only draws how the horns are mounted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robot import registers
from robot.errors import ConfigError
from robot.joints import MAX_TICK, SERVO_IDS, TICKS_PER_TURN, FloatVector
from robot.registers import BROADCAST_ID, EEPROM_END
from sim import servo_registers as table
from sim.protocol import Instruction, Request, RequestParser, encode_status
from sim.servo_motor import (
    CURRENT_COUNT_A,
    FOLLOWER_GEAR,
    PROTECTION_TICK_S,
    SLEW_STEP_S,
    STEPS_PER_RAD,
    SUPPLY_V,
    GearSpec,
    Motor,
    MotorSettings,
)

SERVOS = len(SERVO_IDS)

TURNAROUND_S = (
    10e-6  # gap before each reply at Return_Delay 0 [unpublished; 10..100 us is plausible]
)
# An EEPROM write with the lock open is acknowledged this much later (3..5 ms; > 21 ms was seen too).
FLASH_COMMIT_S = 0.005
BITS_A_BYTE = 10  # 8N1
_SENSE = range(
    registers.STATE_BLOCK.address, registers.STATE_BLOCK.address + registers.STATE_BLOCK.size
)
_GOAL = registers.GOAL_POSITION
_GOAL_BYTES = frozenset((42, 43))
_TORQUE = registers.TORQUE_ENABLE


@dataclass(frozen=True, slots=True)
class Reply:
    """One status packet, and when its last byte comes: seconds after the last of the request."""

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
        # A horn fits on any tooth: where the arm's zero lies on the encoder differs from servo to
        # servo.
        drawn = np.random.default_rng(seed).integers(-500, 501, SERVOS).tolist()
        self._mount = [int(each) for each in (drawn if mount_ticks is None else mount_ticks)]
        self._slew_step_s = [SLEW_STEP_S / each for each in gear.relative]
        self._memory = [table.factory_memory(servo_id) for servo_id in SERVO_IDS]
        self.motors = tuple(
            Motor(self._settings(index), supply_v, gear.relative[index], step_s)
            for index in range(SERVOS)
        )
        self._torque_nm = np.zeros(SERVOS)
        self._steps = 0
        self._protect_every = round(PROTECTION_TICK_S / step_s)
        self._saved = [bytes(memory[:EEPROM_END]) for memory in self._memory]
        self._deferred: list[tuple[int, bytes] | None] = [None] * SERVOS
        self._parser = RequestParser()
        self._is_booting = True
        # Ids whose data line is cut: they hear and say nothing, and go on with what they were last
        # told.
        self.unplugged: set[int] = set()
        self.power_cycle()

    # -- joints --------------------------------------------------------------------------------

    def step(self, position_rad: FloatVector, velocity_rad_s: FloatVector) -> FloatVector:
        """Advance by one step of the world; return torques in Nm, shape (6,), until the next call."""
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
            self._seed_goals()
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
        """Take the next angle as goal: the scene was set anew, and no servo has a way to go from the old one."""
        self._is_booting = True

    # -- power and flash -----------------------------------------------------------------------

    def power_cycle(self) -> None:
        """Lose power and get it back.

        RAM has its defaults then, EEPROM what was saved, torque is off, the goal is the present
        position.
        """
        for index in range(SERVOS):
            memory = table.factory_memory(SERVO_IDS[index])
            memory[:EEPROM_END] = self._saved[index]
            limit = table.decode(registers.MAX_TORQUE_LIMIT, memory)
            table.put(memory, registers.TORQUE_LIMIT, limit)
            self._memory[index] = memory
            self._deferred[index] = None
            self.motors[index].forget_faults()
            self._apply(index)
        self._seed_goals()
        self._is_booting = True

    def eeprom(self) -> bytes:
        """Return what outlives power-off: 40 bytes a servo, in order."""
        return b"".join(self._saved)

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
        self._saved = [data[at : at + EEPROM_END] for at in range(0, len(data), EEPROM_END)]
        self.power_cycle()

    def _seed_goals(self) -> None:
        for memory, motor in zip(self._memory, self.motors, strict=True):
            table.put(memory, registers.GOAL_POSITION, _clamp15(motor.rest_at_present()))

    # -- wire ----------------------------------------------------------------------------------

    def handle(self, packet: bytes, now_s: float, baud_hz: int = 1_000_000) -> list[Reply]:
        """Take the next bytes of the wire, in any chunks; return replies to the requests completed.

        Servos set to another baud rate hear nothing.
        """
        replies: list[Reply] = []
        delay_s = 0.0
        byte_s = BITS_A_BYTE / baud_hz
        for request in self._parser.feed(packet, now_s):
            for index, data, extra_s in self._answers(request, baud_hz):
                gap_s = (
                    TURNAROUND_S + 2e-6 * self._memory[index][registers.RETURN_DELAY_TIME.address]
                )
                delay_s += gap_s + extra_s + byte_s * len(data)
                replies.append(Reply(delay_s, data))
        return replies

    def register(self, servo_id: int, register: registers.Register) -> int:
        """Return a register's present count, as a READ would; for tests and displays."""
        index = SERVO_IDS.index(servo_id)
        self._sense(index)
        return table.decode(register, self._memory[index])

    def _answers(self, request: Request, baud_hz: int) -> list[tuple[int, bytes, float]]:
        """Execute one request; return (servo index, status packet, extra delay) of who answers."""
        match request.instruction:
            case Instruction.SYNC_READ:
                return self._sync_read(request, baud_hz)
            case Instruction.SYNC_WRITE:
                self._sync_write(request, baud_hz)
                return []
            case _:
                pass
        answers: list[tuple[int, bytes, float]] = []
        is_broadcast = request.id == BROADCAST_ID
        for index in range(SERVOS):
            servo_id = self._memory[index][registers.ID.address]
            if not (is_broadcast or servo_id == request.id) or not self._hears(index, baud_hz):
                continue
            level = self._memory[index][registers.RESPONSE_STATUS_LEVEL.address]
            outcome = self._execute(index, request)
            if outcome is None:
                continue
            data, extra_s = outcome
            is_query = request.instruction in (Instruction.PING, Instruction.READ)
            is_silenced = (
                request.instruction != Instruction.PING if is_broadcast else not (is_query or level)
            )
            if not is_silenced:
                # The old id answers a change of id.
                answers.append((index, encode_status(servo_id, self._error(index), data), extra_s))
        return answers

    def _execute(self, index: int, request: Request) -> tuple[bytes, float] | None:
        """Do what one servo is told; return the reply's data and extra delay, None for silence."""
        parameters = request.parameters
        match request.instruction:
            case Instruction.PING:
                return b"", 0.0
            case Instruction.READ if len(parameters) == 2:
                return self._read(index, parameters[0], parameters[1]), 0.0
            case Instruction.WRITE if len(parameters) >= 2:
                return b"", self._write(index, parameters[0], parameters[1:])
            case Instruction.REG_WRITE if len(parameters) >= 2:
                self._deferred[index] = (parameters[0], parameters[1:])
                return b"", 0.0
            case Instruction.ACTION:
                deferred, self._deferred[index] = self._deferred[index], None
                return b"", self._write(index, *deferred) if deferred else 0.0
            case Instruction.RECOVERY:
                self._factory_reset(index)
                return b"", FLASH_COMMIT_S
            case _:
                return None  # unknown instruction or malformed parameters: silence

    def _sync_read(self, request: Request, baud_hz: int) -> list[tuple[int, bytes, float]]:
        """Answer in the order of the list; skip the absent [a real one may wait for its slot]."""
        if request.id != BROADCAST_ID or len(request.parameters) < 3:
            return []
        address, size, *ids = request.parameters
        answers: list[tuple[int, bytes, float]] = []
        for servo_id in ids:
            for index in self._owners(servo_id, baud_hz):
                data = self._read(index, address, size)
                answers.append((index, encode_status(servo_id, self._error(index), data), 0.0))
        return answers

    def _sync_write(self, request: Request, baud_hz: int) -> None:
        parameters = request.parameters
        if request.id != BROADCAST_ID or len(parameters) < 2:
            return
        address, size = parameters[0], parameters[1]
        if size == 0 or (len(parameters) - 2) % (size + 1):
            return
        for at in range(2, len(parameters), size + 1):
            for index in self._owners(parameters[at], baud_hz):
                self._write(index, address, parameters[at + 1 : at + 1 + size])

    def _owners(self, servo_id: int, baud_hz: int) -> list[int]:
        """Return the servos that answer to an id: none, one, or several after a faulty set-up."""
        at = registers.ID.address
        return [
            index
            for index in range(SERVOS)
            if self._memory[index][at] == servo_id and self._hears(index, baud_hz)
        ]

    def _hears(self, index: int, baud_hz: int) -> bool:
        own_hz = table.BAUD_RATES_HZ[self._memory[index][registers.BAUD_RATE.address]]
        # A UART tolerates about 3 % of difference.
        return abs(own_hz - baud_hz) < 0.03 * own_hz and SERVO_IDS[index] not in self.unplugged

    def _error(self, index: int) -> int:
        return self.motors[index].status

    def _read(self, index: int, address: int, size: int) -> bytes:
        if address < _SENSE.stop and address + size > _SENSE.start:
            self._sense(index)
        data = bytes(self._memory[index][address : address + size])
        return data + bytes(size - len(data))  # past the end of memory: zeros

    # -- registers -----------------------------------------------------------------------------

    def _sense(self, index: int) -> None:
        """Bring the present-value registers up to date."""
        motor, memory = self.motors[index], self._memory[index]
        speed = round(motor.velocity_rad_s * STEPS_PER_RAD)
        current = round(motor.supply_current_a / CURRENT_COUNT_A)
        table.put(memory, registers.PRESENT_POSITION, _clamp15(motor.present_tick))
        table.put(memory, registers.PRESENT_VELOCITY, _clamp15(speed))
        table.put(memory, registers.PRESENT_LOAD, round(motor.duty * 1000))
        memory[62] = min(255, max(0, round(motor.supply_v * 10)))
        memory[63] = min(255, int(motor.celsius))
        memory[64] = self._deferred[index] is not None
        memory[65] = motor.status
        memory[66] = motor.is_moving
        table.put(memory, table.GOAL_ECHO, motor.goal_tick)
        table.put(memory, registers.PRESENT_CURRENT, min(current, 500))

    def _write(self, index: int, address: int, data: bytes) -> float:
        """Store bytes with all side effects; return how much later the acknowledgement comes."""
        memory = self._memory[index]
        if address == _GOAL.address and len(data) == _GOAL.size and memory[_TORQUE.address] == 1:
            # The write of every control tick, without the bookkeeping of the others.
            goal = int.from_bytes(data, "little")
            if goal <= MAX_TICK:
                memory[_GOAL.address : _GOAL.address + _GOAL.size] = data
                self.motors[index].set_goal(self._goal_tick(memory))
                return 0.0
        was_enabled = memory[_TORQUE.address]
        written = table.accepted(memory, address, data)
        if _TORQUE.address in written:
            self._switch_torque(index, memory[_TORQUE.address], was_enabled, written)
        if written & _GOAL_BYTES:
            memory[_TORQUE.address] = 1  # a goal stiffens the servo by itself (measured)
            self.motors[index].set_goal(self._goal_tick(memory))
        self._apply(index)
        touched = sorted(at for at in written if at < EEPROM_END)
        if touched and memory[registers.LOCK.address] == 0:
            saved = bytearray(self._saved[index])
            for at in touched:
                saved[at] = memory[at]
            self._saved[index] = bytes(saved)
            return FLASH_COMMIT_S
        return 0.0

    def _switch_torque(self, index: int, value: int, before: int, written: set[int]) -> None:
        """Register 40 takes 0, 1, 2; 128 makes the present position read 2048, torque as it was."""
        memory = self._memory[index]
        if value == 128:
            offset = table.decode(registers.HOMING_OFFSET, memory)
            raw = (self.motors[index].present_tick + offset) % TICKS_PER_TURN
            table.put(memory, registers.HOMING_OFFSET, max(-2047, min(2047, raw - 2048)))
            written.update((31, 32))
        if value not in (0, 1, 2):
            memory[_TORQUE.address] = before

    def _goal_tick(self, memory: bytearray) -> int:
        """Return the goal driven to: the register, within the position limits unless both are 0."""
        goal = table.decode(registers.GOAL_POSITION, memory)
        low = table.decode(registers.MIN_POSITION_LIMIT, memory)
        high = table.decode(registers.MAX_POSITION_LIMIT, memory)
        return goal if low == high == 0 else min(max(goal, low), high)

    def _factory_reset(self, index: int) -> None:
        """Instruction 06: every register but the id to its factory value (seen on firmware 3.10)."""
        memory = table.factory_memory(self._memory[index][registers.ID.address])
        table.put(memory, registers.TORQUE_LIMIT, table.decode(registers.MAX_TORQUE_LIMIT, memory))
        self._memory[index] = memory
        self._saved[index] = bytes(memory[:EEPROM_END])
        self._apply(index)
        table.put(memory, registers.GOAL_POSITION, _clamp15(self.motors[index].rest_at_present()))

    def _apply(self, index: int) -> None:
        self.motors[index].apply(self._settings(index))

    def _settings(self, index: int) -> MotorSettings:
        """Translate one servo's registers into its motor's terms."""
        memory = self._memory[index]

        def count(register: registers.Register) -> int:
            return table.decode(register, memory)

        asked_speed = abs(count(registers.GOAL_VELOCITY))
        top_speed = self._slew_step_s[index]
        if memory[registers.PHASE.address] & 0x04 == 0:
            asked_speed *= table.STEP_RATE  # phase bit 2 clear: the speed unit is 50 step/s
        acceleration = count(registers.ACCELERATION)
        if acceleration >= table.MAX_ACCELERATION:
            acceleration = 0  # the largest count: no profile is visible
        return MotorSettings(
            torque=count(registers.TORQUE_ENABLE),
            mode=count(registers.OPERATING_MODE),
            p=count(registers.P_COEFFICIENT),
            d=count(registers.D_COEFFICIENT),
            i=count(registers.I_COEFFICIENT),
            startup_force=count(registers.MINIMUM_STARTUP_FORCE),
            dead_zone_cw=count(registers.CW_DEAD_ZONE),
            dead_zone_ccw=count(registers.CCW_DEAD_ZONE),
            acceleration=acceleration,
            speed_step_s=min(asked_speed or top_speed, top_speed),
            pwm=count(registers.GOAL_TIME),
            torque_limit=count(registers.TORQUE_LIMIT),
            zero_tick=2048 + self._mount[index] - count(registers.HOMING_OFFSET),
            is_multi_turn=bool(memory[registers.PHASE.address] & table.PHASE_MULTI_TURN),
            max_temperature=count(registers.MAX_TEMPERATURE_LIMIT),
            min_voltage=count(registers.MIN_VOLTAGE_LIMIT),
            max_voltage=count(registers.MAX_VOLTAGE_LIMIT),
            unloading=count(registers.UNLOADING_CONDITION),
            protection_current=count(registers.PROTECTION_CURRENT),
            current_time=count(registers.OVER_CURRENT_PROTECTION_TIME),
            overload_torque=count(registers.OVERLOAD_TORQUE),
            overload_time=count(registers.PROTECTION_TIME),
            protective_torque=count(registers.PROTECTIVE_TORQUE),
        )


def _clamp15(count: int) -> int:
    return max(-32767, min(32767, count))
