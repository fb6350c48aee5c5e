"""How much torque each joint may use: Torque_Limit, a RAM register, of six servos in one packet."""

from collections.abc import Callable, Mapping

from robot.arm_setup import torque_limit
from robot.bus import ServoBus
from robot.clock import Clock
from robot.errors import NotConnected
from robot.joints import SERVO_IDS
from robot.packets import SyncWrite
from robot.registers import TORQUE_LIMIT

SINK_S = 2.0
SINK_STEP_S = 0.05


class TorqueLimits:
    """The limits of one follower, as they were last written."""

    def __init__(self, bus: ServoBus) -> None:
        self._bus = bus
        self._write = SyncWrite(TORQUE_LIMIT, SERVO_IDS)
        self._counts = {servo_id: torque_limit(servo_id) for servo_id in SERVO_IDS}

    def go_on(self, bus: ServoBus) -> None:
        """Write over another bus from now on; the servos kept their limits."""
        self._bus = bus

    @property
    def counts(self) -> Mapping[int, int]:
        """Register values by servo id."""
        return self._counts

    def note_full(self) -> None:
        """Take note that every limit was written in full, as at power-on."""
        self._counts = {servo_id: torque_limit(servo_id) for servo_id in SERVO_IDS}

    def set_pct(self, limit_pct: float) -> None:
        """Limit every joint, percent of its stall torque; the gripper's stays lower.

        Raises:
            NotConnected: the port went away.
        """
        self._send({servo_id: torque_limit(servo_id, limit_pct) for servo_id in SERVO_IDS})

    def sink(self, clock: Clock, is_off_wanted: Callable[[], bool]) -> None:
        """Lower all limits to nothing within `SINK_S`; ends early when off is wanted.

        Nothing is asked and nothing read, for a joint may be lost; a port that is gone ends it.
        """
        first = dict(self._counts)
        steps = round(SINK_S / SINK_STEP_S)
        try:
            for step in range(steps - 1, -1, -1):
                if is_off_wanted():
                    return
                self._send({servo_id: count * step // steps for servo_id, count in first.items()})
                clock.sleep_until(clock.now_s() + SINK_STEP_S)
        except NotConnected:
            return

    def _send(self, counts: dict[int, int]) -> None:
        self._counts = counts
        self._bus.send(self._write, list(counts.values()))
