"""A joint that lost its power for a moment: found out, and set up again before it moves.

A brown-out leaves a servo silent, then back with torque 0 and the defaults of its RAM. Register 40
alone does not show it: the next goal turns torque on by itself. Register 41 does: nothing but
`configure` and this module sets it, and it is 0 after power-up. A joint that was silent for longer
than a glitch gets no goals until it has been looked at.
"""

from collections.abc import Mapping

from robot.arm_setup import check_same_servo, motion_registers, seed_goal
from robot.bus import ServoBus, joint_name
from robot.errors import JointLost, ServoTimeout
from robot.health import Finding, Response
from robot.joints import JOINTS, SERVO_IDS, Calibration
from robot.packets import BlockRead
from robot.registers import (
    LOCK,
    STATUS_BITS,
    TORQUE_ENABLE,
    TORQUE_LIMIT,
    Register,
)

# Looked at this often, in ticks, and whenever a silent joint is back.
POWER_CHECK_TICKS = 10
# A shorter silence cannot hide a power-up of a servo [its boot time is not published].
GLITCH_S = 0.025
POWER_MARGIN_S = 0.005  # for one reply of a joint that is set up again in the loop

_SWITCHED_OFF = sum(
    bit for bit, name in STATUS_BITS.items() if name in ("temperature", "current", "overload")
)
_POWER = Register(TORQUE_ENABLE.address, 2)  # Torque_Enable and Acceleration


class PowerWatch:
    """Watch over the power of six joints that are driven."""

    def __init__(self, bus: ServoBus, calibration: Calibration) -> None:
        self._bus = bus
        self._calibration = calibration
        self._block = BlockRead(_POWER, SERVO_IDS, return_delays_s=0.0)  # as `configure` left them
        self._ticks = 0
        self.suspects: set[int] = set()  # servo ids that get no goals

    def suspect(self, servo_id: int) -> None:
        """Keep goals from a joint that has been silent, until it was looked at."""
        self.suspects.add(servo_id)

    def look(self, is_somebody_back: bool, limits: Mapping[int, int]) -> tuple[Finding, ...]:
        """Look at all joints when it is time, and set up again those that had no power.

        Args:
            is_somebody_back: a suspect answered the newest read.
            limits: Torque_Limit of each servo id at present.

        Raises:
            JointLost: a joint came back with another EEPROM than it had. It has no torque and gets
            none, and where it is nobody knows: the other joints cannot carry an arm without it.
        """
        self._ticks += 1
        if not is_somebody_back and self._ticks < POWER_CHECK_TICKS:
            return ()
        self._ticks = 0
        findings: list[Finding] = []
        self._bus.request(self._block)  # as the loop does: who stays mute is not waited for
        reply = self._bus.collect(self._block)
        for servo_id, data in reply.data.items():
            is_torque_on, is_set_up = data[0] != 0, data[1] != 0
            if is_torque_on and is_set_up:
                self.suspects.discard(servo_id)
                continue
            self.suspects.add(servo_id)
            if is_set_up and reply.status[servo_id] & _SWITCHED_OFF:
                continue  # by the servo's own protection: the health monitor's business
            if self._set_up(servo_id, limits[servo_id]):
                self.suspects.discard(servo_id)
                findings.append(_came_back(servo_id))
        return tuple(findings)

    def _set_up(self, servo_id: int, limit: int) -> bool:
        """Set up one joint and power it where it stands; False when it fell silent meanwhile.

        Raises:
            JointLost: it came back with another EEPROM.
        """
        bus = self._bus
        joint = self._calibration.joints[SERVO_IDS.index(servo_id)]
        margin_s, bus.port.margin_s = bus.port.margin_s, POWER_MARGIN_S
        try:
            check_same_servo(bus, joint)
            for register, value in motion_registers(servo_id):
                count = limit if register is TORQUE_LIMIT else value
                bus.write_verified(servo_id, register, count, tries=1)
            seed_goal(bus, joint, tries=1)
            bus.write_verified(servo_id, TORQUE_ENABLE, 1, tries=1)
            bus.write(servo_id, LOCK, 1, tries=1)
        except JointLost:
            raise
        except ServoTimeout:
            return False
        finally:
            bus.port.margin_s = margin_s
        return True


def _came_back(servo_id: int) -> Finding:
    return Finding(
        JOINTS[SERVO_IDS.index(servo_id)],
        "power",
        Response.WARN,
        f"{joint_name(servo_id)} lost its power for a moment and was set up again: "
        "check its plug and the supply",
    )
