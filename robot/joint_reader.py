"""Turn the servos' replies into joint samples, with the time and the error byte of each joint."""

import struct

import numpy as np
from numpy.typing import NDArray

from robot.bus import BlockReply, ServoBus, joint_name
from robot.errors import ServoTimeout
from robot.joint_sample import JointSample
from robot.joints import (
    DEG_PER_TICK,
    GRIPPER,
    SERVO_IDS,
    Calibration,
    FloatVector,
)
from robot.packets import BlockRead
from robot.registers import PRESENT_POSITION, STATE_BLOCK

MA_PER_COUNT = 6.5
FIRST_READ_TRIES = 10

_COUNT = len(SERVO_IDS)
# Position, velocity, load, voltage, temperature, then registers 64 to 68, then current.
_STATE = struct.Struct("<HHHBB5xH")
_POSITION = struct.Struct("<H")
_SIGN_BITS = np.array([[15], [15], [10], [15], [15], [15]])  # volts and degrees never reach it

CountTable = NDArray[np.int64]
FloatTable = NDArray[np.float64]


class JointReader:
    """Reads six joints of one arm: all that the servos say, or positions alone.

    A servo that was silent keeps its last values, with its old time. What is not read is NaN.
    """

    def __init__(
        self,
        bus: ServoBus,
        calibration: Calibration,
        arm_name: str,
        *,
        is_position_only: bool = False,
        return_delays_s: float | None = None,
    ) -> None:
        self._bus = bus
        self._arm_name = arm_name
        register = PRESENT_POSITION if is_position_only else STATE_BLOCK
        self._unpack = (_POSITION if is_position_only else _STATE).unpack
        self._block = BlockRead(register, SERVO_IDS, return_delays_s=return_delays_s)
        # One row a quantity, one column a joint.
        rows = 1 if is_position_only else 6
        self._counts: CountTable = np.zeros((rows, _COUNT), dtype=np.int64)
        self._sign: CountTable = 1 << _SIGN_BITS[:rows]
        self._magnitude: CountTable = self._sign - 1
        self._zero, self._unit = (table[:rows] for table in _scale(calibration))
        self._status = [0] * _COUNT
        self._time_s: FloatVector = np.full(_COUNT, -np.inf)
        # Per joint, when it first missed a read since it was last heard (a joint that nobody asked
        # is not silent).
        self._silent_since_s: list[float | None] = [None] * _COUNT
        self._not_read: FloatVector = np.full(_COUNT, np.nan)
        self._not_read.setflags(write=False)

    def prime(self) -> None:
        """Read until every servo was heard: no sample ever holds a value that nobody sent.

        Raises:
            ServoTimeout: a servo was never heard.
        """
        reply = self._bus.read_block(self._block)
        for _ in range(FIRST_READ_TRIES - 1):
            if len(reply.data) == _COUNT:
                break
            reply = self._bus.read_block(self._block)
        silent = [joint_name(servo_id) for servo_id in SERVO_IDS if servo_id not in reply.data]
        if silent:
            raise ServoTimeout(
                f"{', '.join(silent)} of the {self._arm_name} on {self._bus.port.name} "
                "gave no state: check the plug"
            )
        self._take(reply)

    def go_on(self, bus: ServoBus) -> None:
        """Read over another bus from now on; what was heard last stays what was heard last."""
        self._bus = bus

    def request(self) -> None:
        """Ask all servos; returns at once.

        Raises:
            NotConnected: the port went away. PortBusy: somebody else talks on this bus.
        """
        self._bus.refuse_strangers()
        self._bus.request(self._block)

    def collect(self) -> JointSample:
        """Wait for the answers."""
        return self._take(self._bus.collect(self._block))

    def is_silent(self, index: int) -> bool:
        """Tell whether a joint did not answer the newest read."""
        return self._silent_since_s[index] is not None

    def silent_s(self, index: int) -> float:
        """Return for how long a joint has not answered, 0 when it answered the newest read."""
        since_s = self._silent_since_s[index]
        return 0.0 if since_s is None else self._bus.clock.now_s() - since_s

    def _take(self, reply: BlockReply) -> JointSample:
        counts = self._counts
        for index, servo_id in enumerate(SERVO_IDS):
            data = reply.data.get(servo_id)
            if data is None:
                if self._silent_since_s[index] is None:
                    self._silent_since_s[index] = self._bus.clock.now_s()
                continue
            counts[:, index] = self._unpack(data)
            self._status[index] = reply.status[servo_id]
            self._time_s[index] = reply.time_s
            self._silent_since_s[index] = None
        magnitude = counts & self._magnitude
        signed = np.where(counts & self._sign, -magnitude, magnitude)
        values: FloatTable = (signed - self._zero) * self._unit
        others = values[1:] if len(values) > 1 else [self._not_read] * 5
        velocity_deg_s, load_pct, voltage_v, temperature_celsius, current_ma = others
        return JointSample(
            time_s=self._time_s.copy(),
            position_deg=values[0],
            velocity_deg_s=velocity_deg_s,
            load_pct=load_pct,
            voltage_v=voltage_v,
            temperature_celsius=temperature_celsius,
            current_ma=current_ma,
            status=tuple(self._status),
        )


def _scale(calibration: Calibration) -> tuple[FloatTable, FloatTable]:
    """Return which count is zero and what one count is, a row a quantity, as `ticks_to_deg`."""
    low, high = calibration.range_min_ticks, calibration.range_max_ticks
    zero = np.zeros((6, _COUNT))
    zero[0] = (low + high) / 2
    zero[0, GRIPPER] = low[GRIPPER]
    unit = np.ones((6, _COUNT))
    unit[0:2] = DEG_PER_TICK
    unit[0:2, GRIPPER] = 100.0 / (high[GRIPPER] - low[GRIPPER])
    unit[2] = unit[3] = 0.1  # tenths of a per cent, tenths of a volt
    unit[5] = MA_PER_COUNT
    return zero, unit
