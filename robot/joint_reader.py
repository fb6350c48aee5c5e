"""From the bytes of six servos to a joint sample: in degrees, each joint with its own time."""

import numpy as np

from robot.bus import BlockRead, BlockReply, ServoBus, joint_name
from robot.errors import ServoTimeout
from robot.joints import (
    DEG_PER_TICK,
    GRIPPER,
    SERVO_IDS,
    Calibration,
    FloatVector,
    TickVector,
    ticks_to_deg,
)
from robot.loop import JointSample
from robot.registers import STATE_BLOCK, decode_sign_magnitude

MA_PER_COUNT = 6.5
FIRST_READ_TRIES = 10
# The follower holds its last goal meanwhile; then the loop ends and releases it.
SILENCE_LIMIT_S = 0.5


class JointReader:
    """Turn block replies into joint samples.

    A servo that was silent keeps its last value, with its old time.
    """

    def __init__(self, bus: ServoBus, calibration: Calibration, arm_name: str) -> None:
        self._bus = bus
        self._calibration = calibration
        self._arm_name = arm_name
        self._block = BlockRead(STATE_BLOCK, SERVO_IDS)
        count = len(SERVO_IDS)
        self._ticks: TickVector = np.zeros(count, dtype=np.int64)
        self._raw = np.zeros((4, count))  # velocity, load, voltage, temperature
        self._current = np.zeros(count)
        self._status = [0] * count
        self._time_s: FloatVector = np.full(count, -np.inf)
        low, high = calibration.range_min_ticks, calibration.range_max_ticks
        self._units_per_tick = np.full(count, DEG_PER_TICK)
        self._units_per_tick[GRIPPER] = 100.0 / (high[GRIPPER] - low[GRIPPER])

    def prime(self) -> None:
        """Read until every servo was heard: no sample ever holds a value that nobody sent.

        Raises:
            ServoTimeout: a servo was never heard.
        """
        reply = self._bus.read_block(self._block)
        for _ in range(FIRST_READ_TRIES - 1):
            if len(reply.data) == len(SERVO_IDS):
                break
            reply = self._bus.read_block(self._block)
        silent = [joint_name(servo_id) for servo_id in SERVO_IDS if servo_id not in reply.data]
        if silent:
            raise ServoTimeout(
                f"{', '.join(silent)} of the {self._arm_name} on {self._bus.port.name} "
                "gave no state: check the plug"
            )
        self._take(reply)

    def request(self) -> None:
        """Ask all servos; returns at once."""
        self._bus.request(self._block)

    def collect(self) -> JointSample:
        """Wait for the answers; raises ServoTimeout when a servo has been silent for too long."""
        return self._take(self._bus.collect(self._block))

    def _take(self, reply: BlockReply) -> JointSample:
        for index, servo_id in enumerate(SERVO_IDS):
            data = reply.data.get(servo_id)
            if data is None:
                self._check_silence(index, reply.time_s)
                continue
            position, velocity, load, current = (
                int.from_bytes(data[start : start + 2], "little") for start in (0, 2, 4, 13)
            )
            self._ticks[index] = decode_sign_magnitude(position, 15)
            self._raw[0, index] = decode_sign_magnitude(velocity, 15)
            self._raw[1, index] = decode_sign_magnitude(load, 10) / 10
            self._raw[2, index] = data[6] / 10
            self._raw[3, index] = data[7]
            self._current[index] = decode_sign_magnitude(current, 15) * MA_PER_COUNT
            self._status[index] = reply.status[servo_id]
            self._time_s[index] = reply.time_s
        return JointSample(
            time_s=self._time_s.copy(),
            position_deg=ticks_to_deg(self._ticks, self._calibration),
            velocity_deg_s=self._raw[0] * self._units_per_tick,
            load_pct=self._raw[1].copy(),
            voltage_v=self._raw[2].copy(),
            temperature_celsius=self._raw[3].copy(),
            current_ma=self._current.copy(),
            status=tuple(self._status),
        )

    def _check_silence(self, index: int, now_s: float) -> None:
        if now_s - self._time_s[index] > SILENCE_LIMIT_S:
            raise ServoTimeout(
                f"{joint_name(SERVO_IDS[index])} of the {self._arm_name} on {self._bus.port.name} "
                "stays silent: check its plug and the power, then start again"
            )
