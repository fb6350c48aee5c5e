"""Powering an arm where it stands: no joint may move by it.

A servo that gets torque drives to its goal register, and a servo outside its limits drives into
them whatever its goal. So the present position becomes the goal, read back, before torque comes on,
and a joint a little outside is led inside slowly; far outside, nothing is powered.
"""

from robot.arm_setup import seed_goal, torque_limit
from robot.bus import ServoBus
from robot.clock import Clock
from robot.errors import CalibrationMismatch
from robot.joints import DEG_PER_TICK, JOINTS, SERVO_IDS, Calibration
from robot.registers import (
    GOAL_VELOCITY,
    LOCK,
    PRESENT_POSITION,
    TORQUE_ENABLE,
    TORQUE_LIMIT,
)

# A joint that stands farther outside its range is not powered: somebody has to look at it.
OUTSIDE_LIMIT_DEG = 2.0
LEAD_IN_STEP_S = round(45.0 / DEG_PER_TICK)  # as slowly as the start ramp
LEAD_IN_MARGIN_S = 0.1


def power_on(bus: ServoBus, calibration: Calibration, clock: Clock) -> None:
    """Power six joints where they stand, at their full torque limit.

    Raises:
        CalibrationMismatch: a joint stands far outside its range; nothing was powered.
        ServoTimeout: a servo did not take its goal or torque; some joints may be powered.
    """
    outside_deg = _look_outside(bus, calibration)
    for joint in calibration.joints:
        bus.write_verified(joint.id, TORQUE_LIMIT, torque_limit(joint.id))
        if joint.id in outside_deg:
            bus.write_verified(joint.id, GOAL_VELOCITY, LEAD_IN_STEP_S)
        seed_goal(bus, joint)
        bus.write_verified(joint.id, TORQUE_ENABLE, 1)
        bus.write(joint.id, LOCK, 1)
    if outside_deg:
        way_s = max(outside_deg.values()) / DEG_PER_TICK / LEAD_IN_STEP_S
        clock.sleep_until(clock.now_s() + way_s + LEAD_IN_MARGIN_S)
    for servo_id in outside_deg:
        bus.write_verified(servo_id, GOAL_VELOCITY, 0)


def _look_outside(bus: ServoBus, calibration: Calibration) -> dict[int, float]:
    """Return by servo id how far joints stand outside, before any is powered."""
    outside_deg: dict[int, float] = {}
    for joint in calibration.joints:
        present = bus.read(joint.id, PRESENT_POSITION)
        out_deg = max(joint.range_min - present, present - joint.range_max) * DEG_PER_TICK
        if out_deg > 0.0:
            outside_deg[joint.id] = out_deg
    refused = [
        f"{JOINTS[SERVO_IDS.index(servo_id)]} stands {out_deg:.0f}° outside"
        for servo_id, out_deg in outside_deg.items()
        if out_deg > OUTSIDE_LIMIT_DEG
    ]
    if refused:
        raise CalibrationMismatch(
            f"the follower on {bus.port.name}: {', '.join(refused)} its calibrated range: "
            "move it inside by hand, then start again"
        )
    return outside_deg
