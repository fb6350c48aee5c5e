"""What an STS3215 holds at power-up, what it accepts, and what its counts mean.

Defaults are Feetech's memory map V3.7 with the firmware (3.10) and identifiers (1..6) of SO-101
kits. Where that map is silent or two sources differ, the choice and its reason stand beside the
value; docs/provenance.md lists the sources.
"""

from robot import registers
from robot.registers import Register

MEMORY_BYTES = 256  # a flat array: third-party dumps of 87 bytes in one READ succeed
FIRMWARE = (3, 10)

# Index = value of register 6. Feetech's map; LeRobot's table differs for 5, 6 and 7 and is wrong
# for STS.
BAUD_RATES_HZ = (1_000_000, 500_000, 250_000, 128_000, 115_200, 76_800, 57_600, 38_400)

PHASE_MULTI_TURN = 0x10  # bit 4: present position counts turns
MAXIMUM_VELOCITY_LIMIT = Register(84, 1, unit="50 step/s")
# Register 41 at 254 (LeRobot's setting) behaves like 0, no profile: BAM's fits need none, and with
# a 25400 step/s^2 trapezoid the twin follows a recorded person 15 ms later and less like the arm.
MAX_ACCELERATION = 254
STEP_RATE = 50  # one count of register 84, step/s

EEPROM_DEFAULTS: dict[Register, int] = {
    registers.FIRMWARE_MAJOR_VERSION: FIRMWARE[0],
    registers.FIRMWARE_MINOR_VERSION: FIRMWARE[1],
    registers.MODEL_NUMBER: registers.MODEL_NUMBER_STS3215,
    registers.ID: 1,
    registers.BAUD_RATE: 0,
    registers.RETURN_DELAY_TIME: 0,
    registers.RESPONSE_STATUS_LEVEL: 1,
    registers.MIN_POSITION_LIMIT: 0,
    registers.MAX_POSITION_LIMIT: 4095,
    registers.MAX_TEMPERATURE_LIMIT: 70,
    registers.MAX_VOLTAGE_LIMIT: 80,
    registers.MIN_VOLTAGE_LIMIT: 40,
    registers.MAX_TORQUE_LIMIT: 1000,
    registers.PHASE: 12,
    registers.UNLOADING_CONDITION: 44,
    registers.LED_ALARM_CONDITION: 47,
    registers.P_COEFFICIENT: 32,
    registers.D_COEFFICIENT: 32,
    registers.I_COEFFICIENT: 0,
    registers.MINIMUM_STARTUP_FORCE: 16,
    registers.CW_DEAD_ZONE: 1,
    registers.CCW_DEAD_ZONE: 1,
    registers.PROTECTION_CURRENT: 500,
    registers.ANGULAR_RESOLUTION: 1,
    registers.HOMING_OFFSET: 0,
    registers.OPERATING_MODE: 0,
    registers.PROTECTIVE_TORQUE: 20,
    registers.PROTECTION_TIME: 200,
    registers.OVERLOAD_TORQUE: 80,
    registers.VELOCITY_P_COEFFICIENT: 10,
    registers.OVER_CURRENT_PROTECTION_TIME: 200,
    registers.VELOCITY_I_COEFFICIENT: 10,
}

# Torque is off at power-up (the map's value); the lock is closed (the newer map's default: writes
# do not persist until it is opened). Goal := present and Torque_Limit := Max_Torque_Limit are set
# when power comes.
RAM_DEFAULTS: dict[Register, int] = {
    registers.TORQUE_ENABLE: 0,
    registers.ACCELERATION: 0,
    registers.GOAL_TIME: 0,
    registers.GOAL_VELOCITY: 0,
    registers.LOCK: 1,
    MAXIMUM_VELOCITY_LIMIT: 68,  # 3400 step/s
    registers.MAXIMUM_ACCELERATION: 254,
}

# Largest and smallest count that is kept; a write outside is acknowledged and dropped, so that only
# read-back shows it.
RANGES: dict[Register, tuple[int, int]] = {
    registers.ID: (0, 253),
    registers.BAUD_RATE: (0, 7),
    registers.RETURN_DELAY_TIME: (0, 254),
    registers.RESPONSE_STATUS_LEVEL: (0, 1),
    registers.MIN_POSITION_LIMIT: (0, 4094),
    registers.MAX_POSITION_LIMIT: (0, 4095),
    registers.MAX_TEMPERATURE_LIMIT: (0, 100),
    registers.MAX_VOLTAGE_LIMIT: (0, 254),
    registers.MIN_VOLTAGE_LIMIT: (0, 254),
    registers.MAX_TORQUE_LIMIT: (0, 1000),
    registers.P_COEFFICIENT: (0, 254),
    registers.D_COEFFICIENT: (0, 254),
    registers.I_COEFFICIENT: (0, 254),
    registers.MINIMUM_STARTUP_FORCE: (0, 1000),
    registers.CW_DEAD_ZONE: (0, 32),
    registers.CCW_DEAD_ZONE: (0, 32),
    registers.PROTECTION_CURRENT: (0, 511),
    registers.ANGULAR_RESOLUTION: (1, 3),
    registers.HOMING_OFFSET: (-2047, 2047),
    registers.OPERATING_MODE: (0, 3),
    registers.PROTECTIVE_TORQUE: (0, 100),
    registers.PROTECTION_TIME: (0, 254),
    registers.OVERLOAD_TORQUE: (0, 100),
    registers.OVER_CURRENT_PROTECTION_TIME: (0, 254),
    registers.ACCELERATION: (0, 254),
    registers.GOAL_POSITION: (-30719, 30719),
    registers.GOAL_TIME: (-1000, 1000),
    registers.GOAL_VELOCITY: (-32767, 32767),
    registers.TORQUE_LIMIT: (0, 1000),
    registers.LOCK: (0, 1),
    registers.MAXIMUM_ACCELERATION: (0, 254),
}

_READ_ONLY = frozenset([*range(5), *range(56, 80)])


def encode(register: Register, count: int) -> bytes:
    """Encode a count as the servo stores it: little-endian, sign-magnitude where signed."""
    if register.sign_bit is not None:
        count = registers.encode_sign_magnitude(count, register.sign_bit)
    return count.to_bytes(register.size, "little")


def decode(register: Register, memory: bytearray | bytes) -> int:
    """Decode a register from a memory image."""
    raw = int.from_bytes(memory[register.address : register.address + register.size], "little")
    if register.sign_bit is not None:
        return registers.decode_sign_magnitude(raw, register.sign_bit)
    return raw


def put(memory: bytearray, register: Register, count: int) -> None:
    """Store a count in a memory image."""
    memory[register.address : register.address + register.size] = encode(register, count)


def factory_memory(servo_id: int) -> bytearray:
    """Return the memory image of a servo fresh from the kit, at power-up."""
    memory = bytearray(MEMORY_BYTES)
    for table in (EEPROM_DEFAULTS, RAM_DEFAULTS):
        for register, count in table.items():
            put(memory, register, count)
    put(memory, registers.ID, servo_id)
    return memory


def accepted(memory: bytearray, address: int, data: bytes) -> set[int]:
    """Store `data` from `address` on as a servo would; return the addresses really written.

    Read-only bytes and registers whose new count lies outside its range keep their old value.
    """
    end = min(address + len(data), MEMORY_BYTES)
    written = {at for at in range(address, end) if at not in _READ_ONLY}
    old = bytes(memory[address:end])
    for at in written:
        memory[at] = data[at - address]
    for register, (low, high) in RANGES.items():
        bytes_of = range(register.address, register.address + register.size)
        if written.isdisjoint(bytes_of) or low <= decode(register, memory) <= high:
            continue
        for at in written.intersection(bytes_of):
            memory[at] = old[at - address]
            written.discard(at)
    return written
