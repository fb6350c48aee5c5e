"""An arm of emulated servos with locked shafts, on a bus in memory: what these tests stand on."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from robot.bus import ServoBus
from robot.joints import SERVO_IDS, Calibration, JointCalibration
from robot.port import ServoPort
from robot.registers import HOMING_OFFSET, LOCK, MAX_POSITION_LIMIT, MIN_POSITION_LIMIT
from sim.memory_serial import MemorySerial
from sim.servo import ServoBank

STEP_S = 0.001
CALIBRATION = Calibration(
    tuple(JointCalibration(i, 0, 10 * i, 500 + i, 3500 - i) for i in SERVO_IDS)
)


class BenchClock:
    """Virtual time that steps banks whose shafts are held at `position_rad`."""

    def __init__(self) -> None:
        self.banks: list[ServoBank] = []
        self.position_rad = np.zeros(6)
        self.time_s = 0.0
        self.after_step: Callable[[], object] = lambda: None
        self._steps = 0

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, deadline_s: float) -> None:
        self.time_s = max(self.time_s, deadline_s)
        while self._steps * STEP_S < self.time_s:
            for bank in self.banks:
                bank.step(self.position_rad, np.zeros(6))
            self._steps += 1
            self.after_step()


class FaultyLine(MemorySerial):
    """A line whose replies pass through `mangle` on their way to the host."""

    def __init__(self, bank: ServoBank, clock: BenchClock) -> None:
        super().__init__(bank, clock)
        self.mangle: Callable[[bytes], bytes] = bytes
        self.deaf_to: bytes | None = None  # packets with these bytes never reach the servos
        self.late_s = 0.0  # replies to what is sent now arrive this much later
        self.is_gone = False

    def read(self, size: int = 1) -> bytes:
        if self.is_gone:
            raise OSError(5, "Input/output error")
        return self.mangle(super().read(size))

    def inject(self, data: bytes) -> None:
        """Let bytes arrive that nobody asked for."""
        self._in_flight.append((self._clock.now_s(), data))
        self._in_flight.sort()

    def write(self, data: bytes | bytearray | list[int]) -> int:
        if self.is_gone:
            raise OSError(5, "Input/output error")
        if self.deaf_to is not None and self.deaf_to in bytes(data):
            return len(data)
        before = len(self._in_flight)
        sent = super().write(data)
        for index in range(before, len(self._in_flight)):
            arrival_s, packet = self._in_flight[index]
            self._in_flight[index] = (arrival_s + self.late_s, packet)
        return sent


@dataclass
class ArmBench:
    """Bank, line and bus of one emulated arm; two that are to move together share a clock."""

    clock: BenchClock = field(default_factory=BenchClock)
    bank: ServoBank = field(default_factory=lambda: ServoBank(mount_ticks=[0] * 6))

    def __post_init__(self) -> None:
        self.clock.banks.append(self.bank)
        self.clock.sleep_until(self.clock.now_s() + 0.01)
        self.line = FaultyLine(self.bank, self.clock)
        self.bus = ServoBus(ServoPort(self.line, "bench", self.clock), self.clock)

    def calibrate(self, calibration: Calibration = CALIBRATION) -> None:
        """Store a calibration in the servos, as the sweep would."""
        for joint in calibration.joints:
            self.bus.write(joint.id, LOCK, 0)
            self.bus.write(joint.id, HOMING_OFFSET, joint.homing_offset)
            self.bus.write(joint.id, MIN_POSITION_LIMIT, joint.range_min)
            self.bus.write(joint.id, MAX_POSITION_LIMIT, joint.range_max)
            self.bus.write(joint.id, LOCK, 1)
