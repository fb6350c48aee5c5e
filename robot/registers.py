"""The STS3215 control table: data, no code beyond the sign-magnitude rule.

Source: Feetech "ST3215 memory register map V3.7"; sign bits as LeRobot 0.6 decodes them, plus load
(10) and PWM (10) of the same table. Two-byte registers are little-endian. See docs/provenance.md.
"""

from dataclasses import dataclass

MODEL_NUMBER_STS3215 = 777
BROADCAST_ID = 0xFE
EEPROM_END = 40  # addresses below are EEPROM


@dataclass(frozen=True, slots=True)
class Register:
    """One register: address and size in bytes, sign-magnitude bit if signed, unit of one count."""

    address: int
    size: int
    sign_bit: int | None = None
    unit: str = ""

    @property
    def is_eeprom(self) -> bool:
        """Tell whether a write survives power-off (while the lock is open)."""
        return self.address < EEPROM_END


FIRMWARE_MAJOR_VERSION = Register(0, 1)
FIRMWARE_MINOR_VERSION = Register(1, 1)
MODEL_NUMBER = Register(3, 2)
ID = Register(5, 1)
BAUD_RATE = Register(6, 1)
RETURN_DELAY_TIME = Register(7, 1, unit="2 us")
RESPONSE_STATUS_LEVEL = Register(8, 1)
MIN_POSITION_LIMIT = Register(9, 2, unit="step")
MAX_POSITION_LIMIT = Register(11, 2, unit="step")
MAX_TEMPERATURE_LIMIT = Register(13, 1, unit="1 C")
MAX_VOLTAGE_LIMIT = Register(14, 1, unit="0.1 V")
MIN_VOLTAGE_LIMIT = Register(15, 1, unit="0.1 V")
MAX_TORQUE_LIMIT = Register(16, 2, unit="0.1 %")
PHASE = Register(18, 1)
UNLOADING_CONDITION = Register(19, 1)
LED_ALARM_CONDITION = Register(20, 1)
P_COEFFICIENT = Register(21, 1)
D_COEFFICIENT = Register(22, 1)
I_COEFFICIENT = Register(23, 1)
MINIMUM_STARTUP_FORCE = Register(24, 2, unit="0.1 %")
CW_DEAD_ZONE = Register(26, 1, unit="step")
CCW_DEAD_ZONE = Register(27, 1, unit="step")
PROTECTION_CURRENT = Register(28, 2, unit="6.5 mA")
ANGULAR_RESOLUTION = Register(30, 1)
HOMING_OFFSET = Register(31, 2, sign_bit=11, unit="step")
OPERATING_MODE = Register(33, 1)
PROTECTIVE_TORQUE = Register(34, 1, unit="1 %")
PROTECTION_TIME = Register(35, 1, unit="10 ms")
OVERLOAD_TORQUE = Register(36, 1, unit="1 %")
VELOCITY_P_COEFFICIENT = Register(37, 1)
OVER_CURRENT_PROTECTION_TIME = Register(38, 1, unit="10 ms")
VELOCITY_I_COEFFICIENT = Register(39, 1)
TORQUE_ENABLE = Register(40, 1)
ACCELERATION = Register(41, 1, unit="100 step/s^2")
GOAL_POSITION = Register(42, 2, sign_bit=15, unit="step")
GOAL_TIME = Register(44, 2, sign_bit=10)
GOAL_VELOCITY = Register(46, 2, sign_bit=15, unit="step/s")
TORQUE_LIMIT = Register(48, 2, unit="0.1 %")
LOCK = Register(55, 1)
PRESENT_POSITION = Register(56, 2, sign_bit=15, unit="step")
PRESENT_VELOCITY = Register(58, 2, sign_bit=15, unit="step/s")
PRESENT_LOAD = Register(60, 2, sign_bit=10, unit="0.1 %")
PRESENT_VOLTAGE = Register(62, 1, unit="0.1 V")
PRESENT_TEMPERATURE = Register(63, 1, unit="1 C")
ASYNC_WRITE_FLAG = Register(64, 1)
STATUS = Register(65, 1)
MOVING = Register(66, 1)
PRESENT_CURRENT = Register(69, 2, sign_bit=15, unit="6.5 mA")
MAXIMUM_ACCELERATION = Register(85, 1, unit="100 step/s^2")

# The block that the follower's every tick reads: position, velocity, load, voltage, temperature,
# status, current.
STATE_BLOCK = Register(56, 15)

# Names as LeRobot spells them, for messages, doctor and tests.
NAMES: dict[str, Register] = {
    "_".join(
        part if part in ("ID", "CW", "CCW", "LED") else part.capitalize()
        for part in name.split("_")
    ): value
    for name, value in list(globals().items())
    if isinstance(value, Register) and name != "STATE_BLOCK"
}

# Bits of the ERROR byte of every reply, and of register 65.
STATUS_BITS: dict[int, str] = {
    0x01: "voltage",
    0x02: "encoder",
    0x04: "temperature",
    0x08: "current",
    0x10: "angle",
    0x20: "overload",
}


def encode_sign_magnitude(value: int, sign_bit: int) -> int:
    """Encode a signed count; raises ValueError when the magnitude needs the sign bit."""
    magnitude = abs(value)
    if magnitude >= 1 << sign_bit:
        raise ValueError(f"magnitude {magnitude} exceeds {(1 << sign_bit) - 1}")
    return magnitude | (1 << sign_bit) if value < 0 else magnitude


def decode_sign_magnitude(encoded: int, sign_bit: int) -> int:
    """Decode a sign-magnitude count."""
    magnitude = encoded & ((1 << sign_bit) - 1)
    return -magnitude if encoded >> sign_bit & 1 else magnitude


def status_names(status: int) -> list[str]:
    """Name the fault bits that are set, in the order of the table."""
    return [name for bit, name in STATUS_BITS.items() if status & bit]
