"""The hand sweep: each joint moved to both of its ends, and what was read made a calibration.

Readings are unwrapped over the encoder's seam. Zero is chosen so that joint angles agree with the
SO-101 model: the swept range is laid over the model's, and the range stored is symmetric about the
model's zero, because LeRobot's degrees mode takes the middle of the range for zero. Nothing is
written to a servo before all six joints pass; then it is written as one transaction, read back, and
undone if anything fails.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot.bus import ServoBus
from robot.clock import Clock
from robot.errors import CalibrationMismatch, NotConnected, ServoTimeout, So101Error
from robot.joints import (
    JOINTS,
    MAX_TICK,
    SERVO_IDS,
    TICKS_PER_TURN,
    Calibration,
    FloatVector,
    JointCalibration,
    TickVector,
)
from robot.packets import BlockRead
from robot.registers import (
    HOMING_OFFSET,
    LOCK,
    MAX_POSITION_LIMIT,
    MIN_POSITION_LIMIT,
    PHASE,
    PRESENT_POSITION,
    Register,
    decode_sign_magnitude,
)

# Ends of each joint in the model's degrees (TheRobotStudio SO-101 "new calibration" model); gripper
# -10 closed, 100 open.
MODEL_LOW_DEG = np.array([-110.0, -100.0, -96.83, -95.0, -157.21, -10.0])
MODEL_HIGH_DEG = np.array([110.0, 100.0, 96.83, 95.0, 162.79, 100.0])
SPAN_TOLERANCE = 0.10  # of the expected span: printed parts and backlash stay within a few per cent
HALF_TURN = 2047  # LeRobot centres a range on int(4095 / 2)
POLL_S = 0.02
READ_TRIES = 5

_STORED: tuple[Register, ...] = (HOMING_OFFSET, MIN_POSITION_LIMIT, MAX_POSITION_LIMIT)


@dataclass(frozen=True, slots=True)
class SweepReading:
    """The sweep so far; arrays of shape (6,), unwrapped raw ticks and degrees of the shaft."""

    low_ticks: TickVector
    high_ticks: TickVector
    span_deg: FloatVector
    expected_deg: FloatVector

    @property
    def is_complete(self) -> NDArray[np.bool_]:
        """Tell, per joint, whether the span is within tolerance of the expected one."""
        return np.abs(self.span_deg / self.expected_deg - 1.0) <= SPAN_TOLERANCE


def sweep(bus: ServoBus, clock: Clock) -> Iterator[SweepReading]:
    """Yield a reading 50 times a second while a hand moves the joints.

    Never ends by itself: the caller stops when it is content.
    """
    block = BlockRead(PRESENT_POSITION, SERVO_IDS)
    offsets = np.array([bus.read(servo_id, HOMING_OFFSET) for servo_id in SERVO_IDS])
    expected_deg = MODEL_HIGH_DEG - MODEL_LOW_DEG
    unwrapped = _read_raw(bus, block, offsets, None)
    low = unwrapped.copy()
    high = unwrapped.copy()
    while True:
        span_deg = (high - low) * 360.0 / TICKS_PER_TURN
        yield SweepReading(low.copy(), high.copy(), span_deg, expected_deg)
        clock.sleep_until(clock.now_s() + POLL_S)
        unwrapped = _read_raw(bus, block, offsets, unwrapped)
        np.minimum(low, unwrapped, out=low)
        np.maximum(high, unwrapped, out=high)


def _read_raw(
    bus: ServoBus, block: BlockRead, offsets: TickVector, previous: TickVector | None
) -> TickVector:
    """Read six raw encoder values, before the homing offset.

    They go on over the 0/4095 seam from `previous`.
    """
    reply = bus.read_block(block)
    for _ in range(READ_TRIES - 1):
        if len(reply.data) == len(SERVO_IDS):
            break
        reply = bus.read_block(block)
    missing = [servo_id for servo_id in SERVO_IDS if servo_id not in reply.data]
    if missing:
        raise ServoTimeout(
            f"servo {missing} on {bus.port.name} stopped answering: "
            "check its plug, then sweep again"
        )
    present = [
        decode_sign_magnitude(int.from_bytes(reply.data[i], "little"), 15) for i in SERVO_IDS
    ]
    raw = (np.array(present) + offsets) % TICKS_PER_TURN
    if previous is None:
        return raw
    half = TICKS_PER_TURN // 2
    return previous + (raw - previous + half) % TICKS_PER_TURN - half


def solve(reading: SweepReading, arm_name: str) -> Calibration:
    """Turn a sweep into a calibration.

    Raises:
        CalibrationMismatch: a joint was not moved, or over the wrong span; names every such joint.
    """
    wrong = [
        f"{name} moved over {reading.span_deg[i]:.0f} degrees, "
        f"expected {reading.expected_deg[i]:.0f}"
        for i, name in enumerate(JOINTS)
        if not reading.is_complete[i]
    ]
    if wrong:
        raise CalibrationMismatch(
            f"the sweep of the {arm_name} is not usable: {'; '.join(wrong)}. "
            "Move each named joint to both of its stops and try again"
        )
    joints = [_solve_joint(index, reading) for index in range(len(JOINTS))]
    return Calibration(tuple(joints))


def _solve_joint(index: int, reading: SweepReading) -> JointCalibration:
    low, high = int(reading.low_ticks[index]), int(reading.high_ticks[index])
    if JOINTS[index] == "gripper":
        half_down = half_up = (high - low) / 2
        zero = (low + high) / 2
    else:
        share = -MODEL_LOW_DEG[index] / (MODEL_HIGH_DEG[index] - MODEL_LOW_DEG[index])
        zero = low + share * (high - low)
        half_down = half_up = min(zero - low, high - zero)
    offset = (round(zero) - HALF_TURN + TICKS_PER_TURN // 2) % TICKS_PER_TURN - TICKS_PER_TURN // 2
    # -2048 does not fit the register's sign and magnitude; one tick is 0.09 degrees.
    offset = max(offset, -2047)
    return JointCalibration(
        id=SERVO_IDS[index],
        drive_mode=0,
        homing_offset=offset,
        range_min=max(0, round(HALF_TURN - half_down)),
        range_max=min(MAX_TICK, round(HALF_TURN + half_up)),
    )


def store_in_servos(
    bus: ServoBus, calibration: Calibration, save: Callable[[], object] = lambda: None
) -> None:
    """Write offsets and limits to EEPROM and `save` the file, as one transaction.

    Whatever goes wrong in either, and however it ends, every old value is put back: servos and
    file always belong together.

    Raises:
        So101Error: what went wrong (ServoTimeout: a servo did not keep a value; of `save`:
        StorageFull, ConfigError); says whether the old values were restored.
    """
    old = {i: [bus.read(i, register) for register in _STORED] for i in SERVO_IDS}
    try:
        for joint in calibration.joints:
            _write_joint(bus, joint.id, [joint.homing_offset, joint.range_min, joint.range_max])
        save()
    except So101Error as error:
        restored = _restore(bus, old)
        is_of_the_bus = isinstance(error, (ServoTimeout, NotConnected))
        raise type(error)(
            f"the calibration was not stored ({error}); "
            + (
                "the old values are back in all servos"
                if restored
                else "and the old values could not be put back"
            )
            + f": {'check power and plugs, then ' if is_of_the_bus else ''}calibrate again"
        ) from error
    except BaseException:
        _restore(bus, old)
        raise


def _restore(bus: ServoBus, old: dict[int, list[int]]) -> bool:
    restored = True
    for servo_id, values in old.items():
        try:
            _write_joint(bus, servo_id, values)
        except So101Error:
            restored = False
    return restored


def _write_joint(bus: ServoBus, servo_id: int, values: list[int]) -> None:
    bus.write(servo_id, LOCK, 0)
    phase = bus.read(servo_id, PHASE)
    if phase & 0x10:  # multi-turn feedback would take positions out of 0..4095
        bus.write_verified(servo_id, PHASE, phase & ~0x10)
    for register, value in zip(_STORED, values, strict=True):
        if bus.read(servo_id, register) != value:
            bus.write_verified(servo_id, register, value)
    bus.write(servo_id, LOCK, 1)
