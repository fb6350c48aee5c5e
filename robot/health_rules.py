"""When a servo needs care: thresholds with their sources, and rules as pure functions of a sample.

No rule keeps state; `health.HealthMonitor` gives them their timers. Positions and speeds are
degrees (gripper: percent), voltages volts, currents what register 69 shows.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class Response(IntEnum):
    """What a finding asks of the loop, mildest first."""

    GO = 0
    WARN = 1  # say it and go on
    DERATE = 2  # go on slowly
    HOLD = 3  # keep the last goal until it clears
    STOP = 4  # come to rest and let go


class Bands(NamedTuple):
    """From where on a quantity is worth a warning, less speed, and the end of the drive."""

    warn: float
    derate: float
    stop: float


# The servo switches itself off above 70 °C (Max_Temperature_Limit, factory value).
TEMPERATURE_BANDS_CELSIUS = Bands(60.0, 65.0, 68.0)
TEMPERATURE_HYSTERESIS_CELSIUS = 2.0  # the register counts whole degrees
TEMPERATURE_DWELL_S = 0.1  # one odd byte is no heat

VOLTAGE_HYSTERESIS_V = 0.2
# Several joints that start together make the supply dip for a moment.
VOLTAGE_DWELL_S = 0.3


@dataclass(frozen=True, slots=True)
class VoltageBands:
    """What a supply may do, volts: falling below `low`, rising above `high`."""

    low: Bands
    high: Bands


# Low: supplies of 5 V and 7.4 V are both sold with this servo; a tenth below 5 V is worth a word,
# and the servo flags below 4.0 V (Min_Voltage_Limit). High: it flags above 8.0 V and goes on
# (Max_Voltage_Limit; voltage is not among its unloading conditions); two full lithium cells give
# 8.4 V. A 12 V supply is the other kind of arm's: slowly, until somebody looks.
VOLTAGE_OF_7V4_SERVO = VoltageBands(low=Bands(4.5, 4.3, 4.1), high=Bands(8.1, 9.0, 15.0))
# A tenth below and above 12 V; flags above 14 V (Max_Voltage_Limit of the 12 V part).
VOLTAGE_OF_12V_SERVO = VoltageBands(low=Bands(10.8, 9.6, 8.4), high=Bands(13.2, 14.1, 15.0))
HIGHEST_LIMIT_OF_7V4_SERVO_V = 10.0  # 8.0 from the factory; 14.0 on the 12 V part

# A joint that strains: more than the rated current (650 mA at 5 kg·cm, Feetech's data sheet), or a
# duty that carries no arm: a stretched one needs a third of the stall torque.
STRAIN_CURRENT_MA = 650.0
STRAIN_LOAD_PCT = 60.0
STALL_ERROR_DEG = 3.0
STANDING_DEG_S = 2.0
STALL_S = 0.3
STALL_BACK_OFF_DEG = 1.0  # left between goal and joint, on the side it pushed to
# A joint that sinks by so much behind where it was backed off, with so much duty, was not blocked:
# it carries. An obstacle that gives way pushes less the farther it comes.
CARRIES_BACK_DEG = 2.0
CARRIES_LOAD_PCT = 30.0
STALLS_TO_DERATE = 4  # without having been free in between
STALL_RETRY_S = 2.0  # then it may try again, by the ramp
STALL_CLEAR_S = 1.5  # not stalled for so long after a retry, a joint is free again
FENCE_LEFT_DEG = 1.0  # a goal that went back by so much from where it was held has turned round

# The gripper trips when its duty exceeds 25 % (Overload_Torque, as LeRobot sets it) for 2 s, and
# then gives 20 % (Protective_Torque): backed off before, to what it would have left anyway.
SQUEEZE_LOAD_PCT = 23.0
SQUEEZE_S = 1.0
GRIP_SETTLE_S = 0.2
GRIP_LOAD_PCT = 20.0
GRIP_LOST_LOAD_PCT = 10.0  # nothing is between the jaws any more
GRIP_LOST_S = 0.1
# Duty that a goal as near as can be already makes (Minimum_Startup_Force 16 of 1000, measured 0.9).
STARTUP_LOAD_PCT = 0.9

TRIP_WINDOW_S = 10.0
TRIPS_TO_STOP = 3
TRIP_SHOWN_S = 1.0  # slow for so long after a trip
LATCHED_S = 0.5  # a goal clears a trip at once: a bit that stays longer cannot be cleared
BIT_DWELL_S = 0.025  # a fault that three replies at 100 Hz agree on
SILENCE_HOLD_S = 0.025  # the third missing reply at 100 Hz
SILENCE_LIMIT_S = 0.5

DERATED_SPEED_FACTOR = 0.5


def voltage_bands(max_voltage_limit_v: float) -> VoltageBands:
    """Return the bands of a servo, told by its Max_Voltage_Limit register, volts."""
    if max_voltage_limit_v <= HIGHEST_LIMIT_OF_7V4_SERVO_V:
        return VOLTAGE_OF_7V4_SERVO
    return VOLTAGE_OF_12V_SERVO


def banded(value: float, bands: Bands, present: Response, hysteresis: float) -> Response:
    """Grade a quantity that is bad when large; a grade is kept until `hysteresis` below it."""
    for threshold, response in (
        (bands.stop, Response.STOP),
        (bands.derate, Response.DERATE),
        (bands.warn, Response.WARN),
    ):
        if value >= threshold - (hysteresis if present >= response else 0.0):
            return response
    return Response.GO


def temperature_response(celsius: float, present: Response) -> Response:
    """Grade a temperature; `present` is the grade so far."""
    return banded(celsius, TEMPERATURE_BANDS_CELSIUS, present, TEMPERATURE_HYSTERESIS_CELSIUS)


def low_voltage_response(volts: float, bands: VoltageBands, present: Response) -> Response:
    """Grade a supply that may be too weak."""
    falling = Bands(*(-band for band in bands.low))
    return banded(-volts, falling, present, VOLTAGE_HYSTERESIS_V)


def high_voltage_response(volts: float, bands: VoltageBands, present: Response) -> Response:
    """Grade a supply that may be the wrong one."""
    return banded(volts, bands.high, present, VOLTAGE_HYSTERESIS_V)


def silence_response(silent_s: float) -> Response:
    """Grade how long a joint has not been heard; STOP is for a joint that is lost."""
    if silent_s > SILENCE_LIMIT_S:
        return Response.STOP
    return Response.HOLD if silent_s > SILENCE_HOLD_S else Response.GO


def is_stalled(current_ma: float, load_pct: float, error_deg: float, speed_deg_s: float) -> bool:
    """Tell whether a joint strains towards a goal that it does not come nearer to."""
    return (
        (abs(current_ma) > STRAIN_CURRENT_MA or abs(load_pct) > STRAIN_LOAD_PCT)
        and abs(error_deg) > STALL_ERROR_DEG
        and abs(speed_deg_s) < STANDING_DEG_S
    )


def is_carrying(behind_deg: float, load_pct: float) -> bool:
    """Tell by how far it is behind its fence whether a joint that was backed off carries a load."""
    is_back = behind_deg > STALL_BACK_OFF_DEG + CARRIES_BACK_DEG
    return is_back and abs(load_pct) > CARRIES_LOAD_PCT


def is_squeezing(load_pct: float, speed_deg_s: float) -> bool:
    """Tell whether the gripper presses harder than it may for long."""
    return abs(load_pct) > SQUEEZE_LOAD_PCT and abs(speed_deg_s) < STANDING_DEG_S


def grip_goal(position_deg: float, sent_deg: float, load_pct: float) -> float:
    """Return the goal that keeps `GRIP_LOAD_PCT` of grip, gripper percent.

    Duty grows in proportion to the distance of the goal, so the share of the load that may stay is
    the share of the distance. At the torque limit the load says less than the distance: the rule
    comes nearer with every use.
    """
    kept_pct = GRIP_LOAD_PCT - STARTUP_LOAD_PCT
    share = kept_pct / max(kept_pct, abs(load_pct) - STARTUP_LOAD_PCT)
    return position_deg + (sent_deg - position_deg) * share
