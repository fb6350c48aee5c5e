import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest

from calibration.sweep import (
    MODEL_HIGH_DEG,
    MODEL_LOW_DEG,
    SweepReading,
    solve,
    store_in_servos,
    sweep,
)
from robot.bus import ServoBus
from robot.errors import CalibrationMismatch, ServoTimeout, StorageFull
from robot.joints import JOINTS, SERVO_IDS, ticks_to_deg
from robot.port import ServoPort
from robot.registers import HOMING_OFFSET, LOCK, MAX_POSITION_LIMIT, MIN_POSITION_LIMIT, Register
from robot.registers import PRESENT_POSITION as PRESENT
from robot.rig import TwinProfile, load_rig
from sim.twin import VirtualRig, open_virtual

STORED = (HOMING_OFFSET, MIN_POSITION_LIMIT, MAX_POSITION_LIMIT)
PROFILE = msgspec.structs.replace(
    load_rig(Path("configs/twin.toml")), cameras={}, twin=TwinProfile(seed=3)
)


def full_reading() -> SweepReading:
    expected = MODEL_HIGH_DEG - MODEL_LOW_DEG
    low = np.full(6, 700)
    return SweepReading(
        low, low + np.rint(expected * 4096 / 360).astype(int), expected.copy(), expected
    )


@pytest.fixture(scope="module")
def swept() -> tuple[VirtualRig, ServoBus, SweepReading]:
    """A twin's follower after the emulated hand has swept it."""
    rig = open_virtual(PROFILE)
    bus = ServoBus(ServoPort(rig.follower_serial, "twin", rig.clock), rig.clock)
    rig.control.set_hand("follower", "sweep")
    for count, reading in enumerate(sweep(bus, rig.clock)):
        if count % 20 == 19 and rig.control.status().hand_done["follower"]:
            return rig, bus, reading
    raise AssertionError("the sweep never ends by itself")


def test_a_hand_sweep_calibrates_to_the_models_angles(
    swept: tuple[VirtualRig, ServoBus, SweepReading],
) -> None:
    rig, bus, reading = swept
    calibration = solve(reading, "follower")
    store_in_servos(bus, calibration)
    ticks = [bus.read(i, PRESENT) for i in SERVO_IDS]

    error_deg = ticks_to_deg(ticks, calibration)[:5] - np.rad2deg(
        rig.twin.follower.position_rad[:5]
    )

    assert np.all(np.abs(error_deg) < 1.5)  # a degree of play at either stop
    assert [[bus.read(j.id, r) for r in STORED] for j in calibration.joints] == [
        [j.homing_offset, j.range_min, j.range_max] for j in calibration.joints
    ]
    assert [bus.read(i, LOCK) for i in SERVO_IDS] == [1] * 6


def test_a_sweep_over_the_encoders_seam_is_unwrapped() -> None:
    reading = full_reading()
    shifted = dataclasses.replace(
        reading, low_ticks=reading.low_ticks + 3000, high_ticks=reading.high_ticks + 3000
    )

    calibration = solve(shifted, "leader")

    middle = (calibration.range_min_ticks + calibration.range_max_ticks) / 2
    assert np.all(np.abs(middle - 2047) <= 1)
    assert all(-2047 <= joint.homing_offset <= 2047 for joint in calibration.joints)


def test_the_wrist_rolls_zero_is_the_models_and_not_the_middle_of_its_stops() -> None:
    reading = full_reading()

    roll = solve(reading, "leader").joints[4]

    zero_ticks = reading.low_ticks[4] + 157.21 * 4096 / 360
    assert roll.homing_offset == pytest.approx(zero_ticks - 2047, abs=1)
    assert roll.range_max - roll.range_min == pytest.approx(2 * 157.21 * 4096 / 360, abs=2)


@pytest.mark.parametrize("joint", range(6))
@pytest.mark.parametrize(
    ("share", "refused"), [(0.0, True), (0.89, True), (0.91, False), (1.09, False), (1.11, True)]
)
def test_refuses_a_joint_that_was_not_moved_over_its_span(
    joint: int, share: float, refused: bool
) -> None:
    reading = full_reading()
    reading.span_deg[joint] *= share

    if refused:
        with pytest.raises(
            CalibrationMismatch, match=f"{JOINTS[joint]} moved over .*both of its stops"
        ):
            solve(reading, "leader")
    else:
        solve(reading, "leader")


def test_a_failure_half_way_puts_every_old_value_back(
    swept: tuple[VirtualRig, ServoBus, SweepReading], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, bus, reading = swept
    store_in_servos(bus, solve(reading, "follower"))
    before = [[bus.read(i, r) for r in STORED] for i in SERVO_IDS]
    other = solve(
        dataclasses.replace(
            reading, low_ticks=reading.low_ticks + 40, high_ticks=reading.high_ticks + 40
        ),
        "follower",
    )
    write_verified = bus.write_verified
    writes = iter(range(3))

    def lose_the_fourth(servo_id: int, register: Register, value: int) -> None:
        is_lost = next(writes, None) is None and servo_id == 4
        rig.twin.follower_bank.unplugged = {servo_id} if is_lost else set()
        try:
            write_verified(servo_id, register, value)
        finally:
            rig.twin.follower_bank.unplugged = set()

    monkeypatch.setattr(bus, "write_verified", lose_the_fourth)
    with pytest.raises(ServoTimeout, match="old values are back"):
        store_in_servos(bus, other)
    monkeypatch.undo()

    assert [[bus.read(i, r) for r in STORED] for i in SERVO_IDS] == before


@pytest.mark.parametrize("error", [StorageFull("no space left"), KeyboardInterrupt(), OSError(5)])
def test_a_file_that_cannot_be_saved_puts_every_old_value_back(
    error: BaseException, swept: tuple[VirtualRig, ServoBus, SweepReading]
) -> None:
    _, bus, reading = swept
    store_in_servos(bus, solve(reading, "follower"))
    before = [[bus.read(i, r) for r in STORED] for i in SERVO_IDS]
    shifted = dataclasses.replace(
        reading, low_ticks=reading.low_ticks + 40, high_ticks=reading.high_ticks + 40
    )

    def fail_to_save() -> None:
        assert [[bus.read(i, r) for r in STORED] for i in SERVO_IDS] != before
        raise error

    with pytest.raises(type(error)):
        store_in_servos(bus, solve(shifted, "follower"), fail_to_save)

    assert [[bus.read(i, r) for r in STORED] for i in SERVO_IDS] == before
    assert [bus.read(i, LOCK) for i in SERVO_IDS] == [1] * 6
