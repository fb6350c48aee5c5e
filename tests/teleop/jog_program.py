"""A whole keyboard jog on an arm that goes where it is told at once; run by test_keys.py.

A program of its own because pynput takes its display from the environment when it is imported.
Prints one JSON line a tick (time, fingertip position in metres, what the console would say), then
one that says how it ended and which threads are left.
"""

import json
import sys
import threading
import time
from collections.abc import Collection

import numpy as np

from robot.clock import MonotonicClock
from robot.health import Finding, Health, HealthMonitor
from robot.joint_sample import JointSample
from robot.joints import FloatVector
from robot.kinematics import ArmKinematics
from robot.loop import Goal, Tick, run_control_loop
from teleop.jog import JogGoals
from teleop.key_map import STOP_KEYS
from teleop.key_state import KeyState
from teleop.keys import open_keys

TICKS_AFTER_FAILURE = 30


class PerfectArm:
    """Six joints that stand at their goals at once."""

    def __init__(self, clock: MonotonicClock) -> None:
        self._clock = clock
        self._position_deg = np.array([0.0, -40.0, 40.0, 40.0, 0.0, 50.0])

    def read(self) -> JointSample:
        zero = np.zeros(6)
        time_s = np.full(6, self._clock.now_s())
        position_deg = self._position_deg.copy()
        volts = np.full(6, 7.4)
        return JointSample(time_s, position_deg, zero, zero, volts, zero, zero, (0,) * 6)

    def send_deg(self, goal_deg: FloatVector) -> None:
        self._position_deg = goal_deg.copy()

    def restore_power(self) -> tuple[Finding, ...]:
        return ()

    def release(self) -> str:
        return "off (read back)"


class AskedIsSent:
    """No limits: what the keys ask for is what is seen."""

    is_ramping = False

    def rearm(self, joints: Collection[str] = ()) -> None: ...

    def limit(self, goal: Goal, observed: JointSample, health: Health, now_s: float) -> FloatVector:
        return goal.position_deg


class Printer:
    """Tells every tick to the test, and when to stop."""

    def __init__(self, keys: KeyState, kinematics: ArmKinematics) -> None:
        self._keys = keys
        self._kinematics = kinematics
        self._after_failure = 0
        self.is_stopping = False

    def on_tick(self, tick: Tick) -> None:
        tip_m = self._kinematics.forward(tick.sent_deg).position_m.tolist()
        say({"time_s": tick.time_s, "tip_m": tip_m, "status": self._keys.status(tick.time_s)})
        if self._keys.failure is not None:
            self._after_failure += 1
        has_stop_key = not set(STOP_KEYS).isdisjoint(self._keys.take_presses())
        self.is_stopping |= has_stop_key or self._after_failure > TICKS_AFTER_FAILURE


def say(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    clock = MonotonicClock()
    kinematics = ArmKinematics()
    range_deg = np.array([110.0, 100.0, 96.0, 95.0, 157.0, 100.0])
    low_deg = -range_deg
    low_deg[5] = 0.0
    with open_keys(clock) as keys:
        printer = Printer(keys, kinematics)
        source = JogGoals(keys, kinematics, (low_deg, range_deg))
        run_control_loop(
            arm=PerfectArm(clock),
            source=source,
            monitor=HealthMonitor(),
            limiter=AskedIsSent(),
            listeners=[source, printer],
            rate_hz=100.0,
            clock=clock,
            should_stop=lambda: printer.is_stopping,
        )
        failure = keys.failure
        start_s = time.monotonic()
    threads = [thread.name for thread in threading.enumerate()]
    closing_s = time.monotonic() - start_s
    say({"failure": str(failure or ""), "threads": threads, "closing_s": closing_s})


if __name__ == "__main__":
    main()
