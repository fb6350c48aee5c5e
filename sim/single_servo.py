"""One emulated STS3215: its memory, what reading and writing it does, and the motor behind it."""

import struct

from robot import registers
from robot.joints import MAX_TICK, TICKS_PER_TURN
from robot.registers import EEPROM_END, STATE_BLOCK, Register
from sim import servo_registers as table
from sim.protocol import Instruction, encode_status
from sim.servo_motor import (
    CURRENT_COUNT_A,
    SLEW_STEP_S,
    STEPS_PER_RAD,
    Motor,
    MotorSettings,
)

# An EEPROM write with the lock open is acknowledged later (3..5 ms; more than 21 ms was seen too).
FLASH_COMMIT_S = 0.005

_GOAL = registers.GOAL_POSITION
_GOAL_BYTES = frozenset((_GOAL.address, _GOAL.address + 1))
_TORQUE = registers.TORQUE_ENABLE.address
_LOCK = registers.LOCK.address
_SENSED = range(STATE_BLOCK.address, STATE_BLOCK.address + STATE_BLOCK.size)
# Registers 56..70: position, velocity, load, voltage, temperature, pending write, status, moving,
# the goal driven to (67, where the newer map has it), current.
_STATE = struct.Struct("<HHHBBBBBHH")
_PHASE_FINE_SPEED = 0x04  # phase bit 2: speeds are in step/s, else in 50 step/s


class Servo:
    """One servo, powered up. `motor` is its joint's side, `execute` its wire's."""

    def __init__(
        self, servo_id: int, mount_ticks: int, supply_v: float, relative_gear: float, step_s: float
    ) -> None:
        self._mount_ticks = mount_ticks
        self._top_speed_step_s = SLEW_STEP_S / relative_gear
        self._memory = table.factory_memory(servo_id)
        self.saved = bytes(self._memory[:EEPROM_END])  # what outlives power-off
        self._deferred: tuple[int, bytes] | None = None
        self.clock_ms: int | None = None  # shown in place of the goal's echo where it is set
        self.motor = Motor(self._settings(), supply_v, relative_gear, step_s)
        self.power_cycle()

    @property
    def id(self) -> int:
        """The id it answers to."""
        return self._memory[registers.ID.address]

    @property
    def baud_hz(self) -> int:
        """The speed it listens at."""
        return table.BAUD_RATES_HZ[self._memory[registers.BAUD_RATE.address]]

    @property
    def return_delay_s(self) -> float:
        """The pause it makes before a reply, beyond its turnaround."""
        return 2e-6 * self._memory[registers.RETURN_DELAY_TIME.address]

    @property
    def is_answering_all(self) -> bool:
        """Whether it acknowledges more than PING and READ."""
        return self._memory[registers.RESPONSE_STATUS_LEVEL.address] != 0

    def power_cycle(self) -> None:
        """Lose power and get it back: RAM defaults, saved EEPROM, torque off, goal := present."""
        memory = table.factory_memory(self.id)
        memory[:EEPROM_END] = self.saved
        self._start(memory)

    def rest_at_present(self) -> None:
        """Make the present position the goal, as at power-up."""
        goal = _sign_magnitude(self.motor.rest_at_present(), 15)
        self._memory[_GOAL.address : _GOAL.address + _GOAL.size] = goal.to_bytes(2, "little")

    # -- wire ----------------------------------------------------------------------------------

    def execute(self, instruction: int, parameters: bytes) -> tuple[bytes, float] | None:
        """Do what it is told; return the reply's data and its extra delay, None for silence."""
        match instruction:
            case Instruction.PING:
                return b"", 0.0
            case Instruction.READ if len(parameters) == 2:
                return self.read(parameters[0], parameters[1]), 0.0
            case Instruction.WRITE if len(parameters) >= 2:
                return b"", self.write(parameters[0], parameters[1:])
            case Instruction.REG_WRITE if len(parameters) >= 2:
                self._deferred = (parameters[0], parameters[1:])
                return b"", 0.0
            case Instruction.ACTION:
                deferred, self._deferred = self._deferred, None
                return b"", self.write(*deferred) if deferred else 0.0
            case Instruction.RECOVERY:
                self._factory_reset()
                return b"", FLASH_COMMIT_S
            case _:
                return None  # unknown instruction or malformed parameters

    def status_packet(self, servo_id: int, data: bytes) -> bytes:
        """Encode a reply under `servo_id`: the old id acknowledges a change of id."""
        return encode_status(servo_id, self.motor.status, data)

    def read(self, address: int, size: int) -> bytes:
        """Return memory, present values up to date; zeros past its end."""
        if address < _SENSED.stop and address + size > _SENSED.start:
            self._sense()
        data = bytes(self._memory[address : address + size])
        return data + bytes(size - len(data))

    def count(self, register: Register) -> int:
        """Return a register's present count, as a READ would show it."""
        if register.address in _SENSED:
            self._sense()
        return table.decode(register, self._memory)

    def put(self, register: Register, count: int) -> None:
        """Change a register as no host can: read-only ones too, and never in flash."""
        table.put(self._memory, register, count)
        self.motor.apply(self._settings())

    def write(self, address: int, data: bytes) -> float:
        """Store bytes with all side effects; return how much later the acknowledgement comes."""
        memory = self._memory
        is_goal = address == _GOAL.address and len(data) == _GOAL.size
        if is_goal and memory[_TORQUE] == 1 and int.from_bytes(data, "little") <= MAX_TICK:
            # The write of every control tick, without the bookkeeping of the others.
            memory[address : address + _GOAL.size] = data
            self.motor.set_goal(self._goal_tick())
            return 0.0
        torque_before = memory[_TORQUE]
        written = table.accepted(memory, address, data)
        if _TORQUE in written:
            self._switch_torque(memory[_TORQUE], torque_before, written)
        if written & _GOAL_BYTES:
            memory[_TORQUE] = 1  # a goal stiffens the servo by itself (measured)
            self.motor.set_goal(self._goal_tick())
        self.motor.apply(self._settings())
        touched = [at for at in written if at < EEPROM_END]
        if not touched or memory[_LOCK] != 0:
            return 0.0
        saved = bytearray(self.saved)
        for at in touched:
            saved[at] = memory[at]
        self.saved = bytes(saved)
        return FLASH_COMMIT_S

    # -- inside --------------------------------------------------------------------------------

    def _start(self, memory: bytearray) -> None:
        """Come up with this memory."""
        limit = table.decode(registers.MAX_TORQUE_LIMIT, memory)
        table.put(memory, registers.TORQUE_LIMIT, limit)  # at power-up only
        self._memory = memory
        self._deferred = None
        self.motor.forget_faults()
        self.motor.apply(self._settings())
        self.rest_at_present()

    def _factory_reset(self) -> None:
        """Set every register but the id to its factory value (seen on firmware 3.10)."""
        memory = table.factory_memory(self.id)
        self.saved = bytes(memory[:EEPROM_END])
        self._start(memory)

    def _sense(self) -> None:
        """Bring the present-value registers up to date."""
        motor = self.motor
        self._memory[_SENSED.start : _SENSED.stop] = _STATE.pack(
            _sign_magnitude(motor.present_tick, 15),
            _sign_magnitude(round(motor.velocity_rad_s * STEPS_PER_RAD), 15),
            _sign_magnitude(round(motor.load * 1000), 10),
            min(255, max(0, round(motor.supply_v * 10))),
            min(255, int(motor.celsius)),
            self._deferred is not None,
            motor.status,
            motor.is_moving,
            self._goal_echo(),
            round(motor.supply_current_a / CURRENT_COUNT_A),
        )

    def _goal_echo(self) -> int:
        if self.clock_ms is not None:
            return self.clock_ms & 0xFFFF
        return _sign_magnitude(self.motor.goal_tick, 15)

    def _switch_torque(self, value: int, before: int, written: set[int]) -> None:
        """Take 0, 1, 2; at 128 let the present position read 2048 and leave torque as it was."""
        memory = self._memory
        if value == 128:
            offset = table.decode(registers.HOMING_OFFSET, memory)
            raw = (self.motor.present_tick + offset) % TICKS_PER_TURN
            offset = max(-2047, min(2047, raw - TICKS_PER_TURN // 2))
            table.put(memory, registers.HOMING_OFFSET, offset)
            written.update((31, 32))
        if value not in (0, 1, 2):
            memory[_TORQUE] = before

    def _goal_tick(self) -> int:
        """Return the goal driven to: the register, within the limits unless both are 0."""
        goal = table.decode(_GOAL, self._memory)
        low = table.decode(registers.MIN_POSITION_LIMIT, self._memory)
        high = table.decode(registers.MAX_POSITION_LIMIT, self._memory)
        return goal if low == high == 0 else min(max(goal, low), high)

    def _settings(self) -> MotorSettings:
        """Translate the registers into the motor's terms."""
        memory = self._memory

        def count(register: Register) -> int:
            return table.decode(register, memory)

        phase = count(registers.PHASE)
        speed = abs(count(registers.GOAL_VELOCITY))
        if not phase & _PHASE_FINE_SPEED:
            speed *= table.STEP_RATE
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
            speed_step_s=min(speed or self._top_speed_step_s, self._top_speed_step_s),
            pwm=count(registers.GOAL_TIME),
            torque_limit=count(registers.TORQUE_LIMIT),
            zero_tick=2048 + self._mount_ticks - count(registers.HOMING_OFFSET),
            is_multi_turn=bool(phase & table.PHASE_MULTI_TURN),
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


def _sign_magnitude(count: int, sign_bit: int) -> int:
    """Encode a measured value, held at the ends of its field."""
    limit = (1 << sign_bit) - 1
    return min(count, limit) if count >= 0 else min(-count, limit) | (1 << sign_bit)
