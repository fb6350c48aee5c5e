"""Each rule of a servo's health at its boundaries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.health_rules import (
    GRIP_LOAD_PCT,
    HIGHEST_LIMIT_OF_7V4_SERVO_V,
    SILENCE_HOLD_S,
    SILENCE_LIMIT_S,
    STARTUP_LOAD_PCT,
    VOLTAGE_OF_7V4_SERVO,
    VOLTAGE_OF_12V_SERVO,
    Response,
    VoltageBands,
    grip_goal,
    high_voltage_response,
    is_squeezing,
    is_stalled,
    low_voltage_response,
    silence_response,
    temperature_response,
    voltage_bands,
)

GO, WARN, DERATE, HOLD, STOP = Response


@pytest.mark.parametrize(
    ("celsius", "present", "expected"),
    [
        (24.0, GO, GO),
        (59.0, GO, GO),
        (60.0, GO, WARN),
        (64.0, GO, WARN),
        (65.0, GO, DERATE),
        (67.0, GO, DERATE),
        (68.0, GO, STOP),
        (70.0, GO, STOP),
        (127.0, GO, STOP),
        # A grade is kept until it is cooler by two degrees.
        (58.0, WARN, WARN),
        (57.9, WARN, GO),
        (58.0, GO, GO),
        (63.0, DERATE, DERATE),
        (62.9, DERATE, WARN),
        (57.9, DERATE, GO),
        (66.0, STOP, STOP),
        (65.9, STOP, DERATE),
        (62.0, STOP, WARN),
    ],
)
def test_temperature(celsius: float, present: Response, expected: Response) -> None:
    assert temperature_response(celsius, present) is expected


@pytest.mark.parametrize(
    ("bands", "volts", "present", "expected"),
    [
        (VOLTAGE_OF_7V4_SERVO, 6.5, GO, GO),  # the twin's supply, as that of an arm under load
        (VOLTAGE_OF_7V4_SERVO, 5.0, GO, GO),
        (VOLTAGE_OF_7V4_SERVO, 4.6, GO, GO),
        (VOLTAGE_OF_7V4_SERVO, 4.5, GO, WARN),
        (VOLTAGE_OF_7V4_SERVO, 4.3, GO, DERATE),
        (VOLTAGE_OF_7V4_SERVO, 4.2, GO, DERATE),
        (VOLTAGE_OF_7V4_SERVO, 4.1, GO, STOP),
        (VOLTAGE_OF_7V4_SERVO, 0.0, GO, STOP),
        (VOLTAGE_OF_7V4_SERVO, 4.7, WARN, WARN),
        (VOLTAGE_OF_7V4_SERVO, 4.8, WARN, GO),
        (VOLTAGE_OF_7V4_SERVO, 4.6, DERATE, WARN),
        (VOLTAGE_OF_12V_SERVO, 12.0, GO, GO),
        (VOLTAGE_OF_12V_SERVO, 10.9, GO, GO),
        (VOLTAGE_OF_12V_SERVO, 10.8, GO, WARN),
        (VOLTAGE_OF_12V_SERVO, 9.6, GO, DERATE),
        (VOLTAGE_OF_12V_SERVO, 8.4, GO, STOP),
    ],
)
def test_a_supply_that_falls(
    bands: VoltageBands, volts: float, present: Response, expected: Response
) -> None:
    assert low_voltage_response(volts, bands, present) is expected


@pytest.mark.parametrize(
    ("bands", "volts", "present", "expected"),
    [
        (VOLTAGE_OF_7V4_SERVO, 7.4, GO, GO),
        (VOLTAGE_OF_7V4_SERVO, 8.0, GO, GO),
        (VOLTAGE_OF_7V4_SERVO, 8.1, GO, WARN),
        (VOLTAGE_OF_7V4_SERVO, 8.4, GO, WARN),  # two lithium cells, full
        (VOLTAGE_OF_7V4_SERVO, 8.9, GO, WARN),
        (VOLTAGE_OF_7V4_SERVO, 9.0, GO, DERATE),
        (VOLTAGE_OF_7V4_SERVO, 12.0, GO, DERATE),  # the other kind of arm's supply
        (VOLTAGE_OF_7V4_SERVO, 14.9, GO, DERATE),
        (VOLTAGE_OF_7V4_SERVO, 15.0, GO, STOP),
        (VOLTAGE_OF_7V4_SERVO, 7.9, WARN, WARN),
        (VOLTAGE_OF_7V4_SERVO, 7.8, WARN, GO),
        (VOLTAGE_OF_12V_SERVO, 12.6, GO, GO),
        (VOLTAGE_OF_12V_SERVO, 13.2, GO, WARN),
        (VOLTAGE_OF_12V_SERVO, 14.0, GO, WARN),
        (VOLTAGE_OF_12V_SERVO, 14.1, GO, DERATE),
        (VOLTAGE_OF_12V_SERVO, 15.0, GO, STOP),
    ],
)
def test_a_supply_that_is_too_high(
    bands: VoltageBands, volts: float, present: Response, expected: Response
) -> None:
    assert high_voltage_response(volts, bands, present) is expected


def test_a_servo_says_by_its_limit_which_supply_it_is_for() -> None:
    assert voltage_bands(HIGHEST_LIMIT_OF_7V4_SERVO_V) is VOLTAGE_OF_7V4_SERVO
    assert voltage_bands(HIGHEST_LIMIT_OF_7V4_SERVO_V + 0.1) is VOLTAGE_OF_12V_SERVO
    assert voltage_bands(8.0) is VOLTAGE_OF_7V4_SERVO
    assert voltage_bands(14.0) is VOLTAGE_OF_12V_SERVO


@pytest.mark.parametrize(
    ("silent_s", "expected"),
    [
        (0.0, GO),
        (0.01, GO),
        (SILENCE_HOLD_S, GO),
        (SILENCE_HOLD_S + 1e-6, HOLD),
        (SILENCE_LIMIT_S, HOLD),
        (SILENCE_LIMIT_S + 1e-6, STOP),
        (9.0, STOP),
    ],
)
def test_silence(silent_s: float, expected: Response) -> None:
    assert silence_response(silent_s) is expected


@pytest.mark.parametrize("way", [1.0, -1.0])
@pytest.mark.parametrize(
    ("current_ma", "load_pct", "error_deg", "speed_deg_s", "expected"),
    [
        (650.1, 0.0, 3.1, 1.9, True),
        (650.0, 0.0, 3.1, 1.9, False),
        (0.0, 60.1, 3.1, 1.9, True),
        (0.0, 60.0, 3.1, 1.9, False),
        (900.0, 90.0, 3.0, 1.9, False),
        (900.0, 90.0, 3.1, 2.0, False),
        (900.0, 90.0, 40.0, 0.0, True),
        (260.0, 35.0, 7.0, 0.0, False),  # an arm stretched out, holding itself
        (0.0, 0.0, 0.0, 0.0, False),
    ],
)
def test_a_stall_is_strain_towards_a_goal_that_does_not_come_nearer(
    way: float,
    current_ma: float,
    load_pct: float,
    error_deg: float,
    speed_deg_s: float,
    expected: bool,
) -> None:
    assert is_stalled(way * current_ma, way * load_pct, way * error_deg, way * speed_deg_s) is (
        expected
    )
    assert is_stalled(way * current_ma, -way * load_pct, error_deg, -way * speed_deg_s) is expected


@pytest.mark.parametrize("way", [1.0, -1.0])
@pytest.mark.parametrize(
    ("load_pct", "speed_pct_s", "expected"),
    [
        (23.1, 0.0, True),
        (23.0, 0.0, False),
        (50.0, 1.9, True),
        (50.0, 2.0, False),
        (0.0, 0.0, False),
    ],
)
def test_a_squeeze_is_load_without_motion(
    way: float, load_pct: float, speed_pct_s: float, expected: bool
) -> None:
    assert is_squeezing(way * load_pct, speed_pct_s) is expected
    assert is_squeezing(load_pct, way * speed_pct_s) is expected


@pytest.mark.parametrize(
    ("position", "sent", "load_pct", "expected"),
    [
        (30.0, 20.0, -39.1, 25.0),  # 19.1 of 38.2 is half of the way
        (30.0, 40.0, 39.1, 35.0),
        (30.0, 20.0, GRIP_LOAD_PCT, 20.0),  # as much as it may: nothing to loosen
        (30.0, 20.0, 5.0, 20.0),  # never squeezes harder than asked
        (30.0, 20.0, 0.0, 20.0),
        (30.0, 30.0, 40.0, 30.0),
    ],
)
def test_a_grip_keeps_its_share_of_the_way(
    position: float, sent: float, load_pct: float, expected: float
) -> None:
    assert grip_goal(position, sent, load_pct) == pytest.approx(expected)


@given(st.floats(0.0, 100.0), st.floats(0.0, 100.0), st.floats(-100.0, 100.0))
def test_a_grips_goal_lies_between_jaw_and_goal(
    position: float, sent: float, load_pct: float
) -> None:
    goal = grip_goal(position, sent, load_pct)

    assert min(position, sent) - 1e-9 <= goal <= max(position, sent) + 1e-9


def test_the_grip_formula_is_the_servos_own_law() -> None:
    """Duty = startup + slope · way: the goal it returns makes the duty that may stay."""
    slope, way = 1.2, 30.0
    load_pct = STARTUP_LOAD_PCT + slope * way

    left = 50.0 - grip_goal(50.0, 50.0 - way, load_pct)

    assert STARTUP_LOAD_PCT + slope * left == pytest.approx(GRIP_LOAD_PCT)
