import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot import registers
from robot.registers import decode_sign_magnitude, encode_sign_magnitude, status_names


@given(st.sampled_from([10, 11, 15]), st.data())
def test_sign_magnitude_round_trip(sign_bit: int, data: st.DataObject) -> None:
    limit = (1 << sign_bit) - 1
    value = data.draw(st.integers(-limit, limit))

    assert decode_sign_magnitude(encode_sign_magnitude(value, sign_bit), sign_bit) == value


@pytest.mark.parametrize("value", [2048, -2048])
def test_a_magnitude_that_needs_the_sign_bit_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="exceeds 2047"):
        encode_sign_magnitude(value, 11)


def test_the_table_agrees_with_lerobots() -> None:
    from lerobot.motors.feetech.tables import STS_SMS_SERIES_CONTROL_TABLE as THEIRS

    ours = {
        name: (register.address, register.size)
        for name, register in registers.NAMES.items()
        if name in THEIRS
    }

    assert ours == {name: THEIRS[name] for name in ours}
    assert len(ours) >= 35


def test_names_the_fault_bits() -> None:
    assert status_names(0x24) == ["temperature", "overload"]
