"""Two emulated arms in a process of their own: the hardware of every measurement.

No physics but a follower that glides to its goals; no rendering. Runs with real-time priority where
that is permitted, because real servos do not wait for a busy processor either, and says whether it
did.
"""

import gc
import os
import random
import select
import sys
import time

import msgspec
import numpy as np

from benchmarks.arms_messages import (
    AddFault,
    ArmsLog,
    ArmsReady,
    AskTorque,
    Begin,
    Begun,
    Change,
    CountGoals,
    Fidget,
    Goal,
    GoalCount,
    Harvest,
    Harvested,
    LetGo,
    Report,
    Request,
    Torque,
    Wander,
)
from benchmarks.bench_rig import HOMING_OFFSET_TICKS, MIDDLE_TICKS, RANGE_TICKS
from benchmarks.child import begin_child, say
from benchmarks.paced_line import PacedLine, goal_ticks
from robot.joints import JOINTS, SERVO_IDS
from robot.packets import WRITE, frame
from robot.registers import (
    BROADCAST_ID,
    HOMING_OFFSET,
    LOCK,
    MAX_POSITION_LIMIT,
    MIN_POSITION_LIMIT,
    TORQUE_ENABLE,
    Register,
)
from sim.faults import parse_fault
from sim.servo import ServoBank
from sim.servo_motor import LEADER_GEAR, STEPS_PER_RAD

STEP_S = 0.005  # of the gliding follower
GLIDE_S = 0.05  # time constant with which it nears its goals
EARLY_S = 60e-6  # wakes so long before a reply is due, and watches the clock for the rest
# After its last reply it watches the line for the next request instead of sleeping: a sleep would
# end too late, and the host would be charged for it.
WATCH_S = 150e-6
FIDGET_TICKS = 8
FIDGET_S = (0.2, 0.4)  # uniformly between two jumps: at any phase of a control tick
# A wandering leader: no faster than 60 degrees a second, each joint in its own rhythm, so that a
# value a few ticks of the loop old is seen to be so.
WANDER_RAD = 0.4
WANDER_RAD_S = 2 * np.pi / np.array([4.0, 4.4, 5.0, 5.6, 6.2, 7.0])
FIFO_PRIORITY = 90  # above any contestant's: a servo waits for nobody's turn


class ArmsProcess:
    """The loop and what it serves."""

    def __init__(self) -> None:
        self._follower = PacedLine(ServoBank(mount_ticks=[0] * 6, step_s=STEP_S))
        self._leader = PacedLine(ServoBank(mount_ticks=[0] * 6, step_s=STEP_S, gear=LEADER_GEAR))
        self._lines = (self._leader, self._follower)
        middle = (np.array(MIDDLE_TICKS) - 2048) / STEPS_PER_RAD
        self._middle_rad = middle
        self._follower_rad, self._leader_rad = middle.copy(), middle.copy()
        self._is_wandering = False
        self._still = np.zeros(6)
        for line in self._lines:
            line.bank.step(middle, self._still)
            _calibrate(line.bank)
        self._random = random.Random(0)
        self._fidget_s = float("inf")
        self._fidget_ticks = FIDGET_TICKS
        self._changes: list[Change] = []
        self._began_s = self._next_step_s = time.monotonic()
        self._cpu_s = 0.0
        self._watch_until_s = 0.0
        self.is_fifo = _ask_for_fifo()

    @property
    def ready(self) -> ArmsReady:
        """Where the arms are."""
        return ArmsReady(self._leader.path, self._follower.path, self.is_fifo)

    def run(self) -> None:
        """Serve until standard input ends."""
        decoder = msgspec.json.Decoder(Request)
        stdin = sys.stdin.fileno()
        pending = b""
        gc.collect()
        gc.freeze()
        gc.disable()
        while True:
            plugged = [line for line in self._lines if line.fileno() >= 0]
            ready = select.select([*plugged, stdin], [], [], self._wait_s())[0]
            now_s = time.monotonic()
            for line in plugged:
                if line in ready:
                    line.take(now_s)
            is_busy = self._send_replies()
            if not is_busy:
                self._move(now_s)
            if stdin in ready:
                chunk = os.read(stdin, 4096)
                if not chunk:
                    return
                *whole, pending = (pending + chunk).split(b"\n")
                for text in whole:
                    say(self._answer(decoder.decode(text)))

    def _send_replies(self) -> bool:
        """Send what is due within a moment; tells whether more waits."""
        is_busy = False
        for line in self._lines:
            due_s = line.due_s
            if due_s is None:
                continue
            while time.monotonic() < due_s < time.monotonic() + EARLY_S:
                pass
            line.send_due()
            if line.due_s is None:
                self._watch_until_s = time.monotonic() + WATCH_S
            is_busy = is_busy or line.due_s is not None
        return is_busy

    def _wait_s(self) -> float:
        now_s = time.monotonic()
        if now_s < self._watch_until_s:
            return 0.0
        wake_s = min(self._next_step_s, self._fidget_s)
        for line in self._lines:
            if line.due_s is not None:
                wake_s = min(wake_s, line.due_s - EARLY_S)
        return max(0.0, wake_s - now_s)

    def _move(self, now_s: float) -> None:
        """Advance the follower, and the leader's hand."""
        if now_s >= self._fidget_s:
            self._fidget_s = now_s + self._random.uniform(*FIDGET_S)
            self._fidget_ticks = -self._fidget_ticks
            self._leader_rad[0] += self._fidget_ticks / STEPS_PER_RAD
            self._leader.bank.step(self._leader_rad, self._still)
            self._changes.append(Change(time.monotonic(), self._fidget_ticks))
        if now_s >= self._next_step_s:
            if self._is_wandering:
                self._leader_rad[:] = self._middle_rad + WANDER_RAD * np.sin(WANDER_RAD_S * now_s)
                self._leader.bank.step(self._leader_rad, self._still)
            self._next_step_s = now_s + STEP_S
            for line in self._lines:
                line.follow_cable(now_s)
            motors = self._follower.bank.motors
            goal_rad = (np.array([motor.goal_tick for motor in motors]) - 2048) / STEPS_PER_RAD
            is_on = self._registers(self._follower, TORQUE_ENABLE)
            gap_rad = np.where(np.array(is_on) == 1, goal_rad - self._follower_rad, 0.0)
            self._follower_rad += gap_rad * (STEP_S / GLIDE_S)
            self._follower.bank.step(self._follower_rad, self._still)

    def _answer(self, request: Request) -> object:
        now_s = time.monotonic()
        match request:
            case Begin():
                for line in self._lines:
                    line.forget()
                    line.allow_anyone()
                self._changes = []
                self._began_s, self._cpu_s = now_s, time.process_time()
                return Begun(now_s)
            case Fidget(is_on=is_on):
                self._fidget_s = now_s if is_on else float("inf")
                return Begun(now_s)
            case CountGoals():
                return GoalCount(len(self._follower.goals))
            case Report():
                return self._log(now_s)
            case AddFault(text=text):
                arm, fault = parse_fault(text)
                (self._leader if arm == "leader" else self._follower).faults.add(fault)
                return Begun(now_s)
            case Wander():
                self._is_wandering = True
                for line in self._lines:
                    line.keep_told()
                return Begun(now_s)
            case Harvest():
                told = [line.take_told() for line in self._lines]
                goals_s = [time_s for time_s, _ in self._follower.goals]
                for line in self._lines:
                    line.forget()
                return Harvested(now_s, told[0], told[1], goals_s)
            case LetGo():
                for line in self._lines:
                    line.bank.handle(_write_frame(BROADCAST_ID, TORQUE_ENABLE, 0), now_s)
                return self._torque()
            case AskTorque():
                return self._torque()

    def _log(self, now_s: float) -> ArmsLog:
        return ArmsLog(
            began_s=self._began_s,
            ended_s=now_s,
            goals=[Goal(time_s, goal_ticks(data)) for time_s, data in self._follower.goals],
            changes=self._changes,
            leader_samples_s=self._leader.samples,
            pacing_s=[late_s for line in self._lines for late_s in line.pacing_s],
            cpu_s=time.process_time() - self._cpu_s,
        )

    def _torque(self) -> Torque:
        leader, follower = (self._registers(line, TORQUE_ENABLE) for line in self._lines)
        return Torque(leader=leader, follower=follower)

    def _registers(self, line: PacedLine, register: Register) -> list[int]:
        return [line.bank.register(servo_id, register) for servo_id in SERVO_IDS]


def _calibrate(bank: ServoBank) -> None:
    """Put the bench's calibration into the servos' EEPROM, as a calibration run leaves it."""
    for servo_id, name in zip(SERVO_IDS, JOINTS, strict=True):
        low, high = RANGE_TICKS[name]
        for register, value in (
            (LOCK, 0),
            (HOMING_OFFSET, HOMING_OFFSET_TICKS),
            (MIN_POSITION_LIMIT, low),
            (MAX_POSITION_LIMIT, high),
        ):
            bank.handle(_write_frame(servo_id, register, value), 0.0)


def _write_frame(servo_id: int, register: Register, value: int) -> bytes:
    data = value.to_bytes(register.size, "little")
    return frame(servo_id, WRITE, bytes((register.address,)) + data)


def _ask_for_fifo() -> bool:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
    except OSError:
        return False
    return True


def main() -> None:
    """Serve the arms."""
    begin_child()
    arms = ArmsProcess()
    say(arms.ready)
    arms.run()


if __name__ == "__main__":
    main()
