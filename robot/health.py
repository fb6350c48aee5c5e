"""How the servos are: the rules of `health_rules` with their timers, joined on every tick.

A finding is told once, when it begins or grows worse, and stays in `findings` until it ends. What a
servo's own protections would do abruptly (let an arm drop, loosen a grip) is done here first and
gently. A fault is raised once: the walk to rest that follows is judged by the same monitor.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot import health_rules as rules
from robot.errors import JointLost, ServoFault
from robot.health_fences import GripWatch, StallWatch
from robot.health_rules import Response
from robot.health_timers import Grade, Lasting, Trips
from robot.joint_sample import JointSample
from robot.joints import GRIPPER, JOINTS, FloatVector
from robot.registers import STATUS_BITS

__all__ = ["GOOD", "Finding", "Health", "HealthMonitor", "Response"]

# A loop that was held up for longer was not listening: nobody was silent meanwhile.
LONGEST_TICK_S = 0.1

_COUNT = len(JOINTS)
_FREE_LOW = (-np.inf,) * _COUNT
_FREE_HIGH = (np.inf,) * _COUNT
_BIT = {name: bit for bit, name in STATUS_BITS.items()}
_SUPPLY = -1  # place of a finding that concerns all joints: one supply feeds them
_TRIP_BITS = _BIT["overload"] | _BIT["current"]

_LOST = ("silence", "sensor")  # kinds whose STOP leaves no joint to walk with
_AGAIN = "again and again: see what it pushes against, then start again"
_SENTENCES: dict[tuple[str, Response], str] = {
    ("silence", Response.HOLD): "{joint} does not answer: all joints wait",
    ("silence", Response.STOP): (
        "{joint} stays silent: check its plug and the power, then start again"
    ),
    ("sensor", Response.HOLD): "the encoder of {joint} reports a fault: all joints wait",
    ("sensor", Response.STOP): (
        "the encoder of {joint} reports a fault: its position cannot be trusted. "
        "Power the arm off and on; if the fault stays, replace the servo"
    ),
    ("angle", Response.WARN): "{joint} reports an angle fault: calibrate this arm again",
    ("overload", Response.DERATE): "{joint} is overloaded and yields",
    ("overload", Response.STOP): f"{{joint}} is overloaded {_AGAIN}",
    ("current", Response.DERATE): "{joint} draws too much current and yields",
    ("current", Response.STOP): f"{{joint}} draws too much current {_AGAIN}",
    ("temperature", Response.WARN): "{joint} is warm, {value:.0f} °C: give it a rest soon",
    ("temperature", Response.DERATE): "{joint} is hot, {value:.0f} °C: the arm goes slowly",
    ("temperature", Response.STOP): (
        "{joint} is too hot, {value:.0f} °C: let it cool down, then start again"
    ),
    ("heat", Response.STOP): (
        "{joint} switched itself off for heat at {value:.0f} °C: let it cool down, then start again"
    ),
    ("stall", Response.WARN): "{joint} is blocked and was backed off: see what it pushes against",
    ("stall", Response.DERATE): (
        "{joint} strains on and on: take away what it pushes against or carries; the arm goes "
        "slowly until then"
    ),
    ("grip", Response.GO): "the gripper holds on with less force, so as not to trip",
    ("voltage", Response.WARN): "{joint} has {value:.1f} V: check the power supply and its plug",
    ("voltage", Response.DERATE): (
        "{joint} has {value:.1f} V: the arm goes slowly. Check that the power supply is the one "
        "for these servos, and its plug"
    ),
    ("voltage", Response.STOP): (
        "{joint} has {value:.1f} V: check the power supply, its plug, and that it is the one for "
        "these servos"
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one joint."""

    joint: str
    kind: str  # overload, stall, grip, temperature, heat, voltage, current, sensor, angle, silence
    response: Response
    sentence: str


@dataclass(frozen=True, slots=True)
class Health:
    """How six servos are on one tick."""

    response: Response  # of the worst finding
    speed_factor: float  # 1.0, less when derated
    yielding: NDArray[np.bool_]  # shape (6,): joints whose goal becomes the present position
    findings: tuple[Finding, ...]  # all that hold now
    news: tuple[Finding, ...]  # those that began, or grew worse, with this tick
    # Fences, six each, degrees: no goal goes farther where a joint pushes against something.
    not_below_deg: tuple[float, ...] = _FREE_LOW
    not_above_deg: tuple[float, ...] = _FREE_HIGH

    @property
    def is_holding(self) -> bool:
        """Whether all joints keep their last goal."""
        return any(finding.response is Response.HOLD for finding in self.findings)


_NONE_YIELDS = np.zeros(_COUNT, dtype=np.bool_)
_NONE_YIELDS.setflags(write=False)
GOOD = Health(Response.GO, 1.0, _NONE_YIELDS, (), ())


class _JointWatch:
    """What is remembered of one joint."""

    def __init__(self) -> None:
        self.heard_s = -np.inf
        self.silent = Lasting()
        self.encoder = Lasting()
        self.heat_bit = Lasting()
        self.heat = Grade(rules.TEMPERATURE_DWELL_S)
        self.overload = Trips()
        self.current = Trips()


class HealthMonitor:
    """Judge one follower on every tick; `voltage` are the bands of its kind of servo."""

    def __init__(self, voltage: rules.VoltageBands = rules.VOLTAGE_OF_7V4_SERVO) -> None:
        self._voltage = voltage
        self.reset()

    def reset(self) -> None:
        """Forget everything: for an arm that is powered anew."""
        self._last_s: float | None = None
        self._present: dict[tuple[int, str], Finding] = {}
        self._news: list[Finding] = []
        self._joints = [_JointWatch() for _ in JOINTS]
        self._stalls = [StallWatch() for _ in JOINTS[:GRIPPER]]
        self._grip = GripWatch()
        self._fences = [*(stall.fence for stall in self._stalls), self._grip.fence]
        self._low = Grade(rules.VOLTAGE_DWELL_S)
        self._high = Grade(rules.VOLTAGE_DWELL_S)

    def judge(self, observed: JointSample, sent_deg: FloatVector | None, now_s: float) -> Health:
        """Return how six servos are; `sent_deg` is what was sent on the tick before, if any.

        Raises:
            JointLost: a joint stays silent, or its encoder reports a fault: the arm cannot walk.
            ServoFault: the arm has to come to rest. Each fault is raised once.
        """
        passed_s = 0.0 if self._last_s is None else min(now_s - self._last_s, LONGEST_TICK_S)
        self._last_s = now_s
        self._news.clear()
        goals_deg = observed.position_deg if sent_deg is None else sent_deg
        rows = zip(
            self._joints,
            observed.time_s.tolist(),
            observed.status,
            observed.temperature_celsius.tolist(),
            observed.position_deg.tolist(),
            goals_deg.tolist(),
            observed.velocity_deg_s.tolist(),
            observed.load_pct.tolist(),
            observed.current_ma.tolist(),
            strict=True,
        )
        heard: list[int] = []
        for index, row in enumerate(rows):
            watch, time_s, status, celsius, position_deg, goal_deg, speed_deg_s, load, current = row
            is_heard = time_s > watch.heard_s
            watch.heard_s = time_s
            silent_s = watch.silent.update(not is_heard, passed_s)
            self._note(index, "silence", rules.silence_response(silent_s))
            if not is_heard:
                continue  # nothing else is known of it
            heard.append(index)
            self._judge_bits(index, watch, status, celsius, passed_s)
            heat = rules.temperature_response(celsius, watch.heat.response)
            self._note(index, "temperature", watch.heat.update(heat, passed_s), celsius)
            if index == GRIPPER:
                self._grip.update(load, speed_deg_s, position_deg, goal_deg, passed_s)
                self._note_grip()
            else:
                error_deg = goal_deg - position_deg
                is_stalled = rules.is_stalled(current, load, error_deg, speed_deg_s)
                stall = self._stalls[index]
                stall.update(is_stalled, load, position_deg, goal_deg, passed_s)
                self._note(index, "stall", stall.response)
        if heard:
            self._judge_supply(observed, heard, passed_s)
        self._raise_news()
        return self._health(observed) if self._present else GOOD

    def _judge_bits(
        self, index: int, watch: _JointWatch, status: int, celsius: float, passed_s: float
    ) -> None:
        """Judge the error byte of one reply; the voltage bit is judged with the volts."""
        bad = bool(status & _BIT["encoder"])
        is_lasting = watch.encoder.update(bad, passed_s) > rules.BIT_DWELL_S
        worst = Response.STOP if is_lasting else Response.HOLD
        self._note(index, "sensor", worst if bad else Response.GO)
        off_s = watch.heat_bit.update(bool(status & _BIT["temperature"]), passed_s)
        is_off = off_s > rules.BIT_DWELL_S
        self._note(index, "heat", Response.STOP if is_off else Response.GO, celsius)
        self._note(index, "angle", Response.WARN if status & _BIT["angle"] else Response.GO)
        overload = watch.overload.update(bool(status & _BIT["overload"]), passed_s)
        self._note(index, "overload", overload)
        current = watch.current.update(bool(status & _BIT["current"]), passed_s)
        self._note(index, "current", current)

    def _judge_supply(self, observed: JointSample, heard: list[int], passed_s: float) -> None:
        """Judge the volts of the worst joint that was heard: the supply is one."""
        all_volts: list[float] = observed.voltage_v.tolist()
        volts = [all_volts[index] for index in heard]
        lowest_v, highest_v = min(volts), max(volts)
        low, high = self._low, self._high
        low.update(rules.low_voltage_response(lowest_v, self._voltage, low.response), passed_s)
        high.update(rules.high_voltage_response(highest_v, self._voltage, high.response), passed_s)
        response = max(low.response, high.response)
        place = volts.index(highest_v if high.response > low.response else lowest_v)
        if response is Response.GO:
            flags = [bool(observed.status[index] & _BIT["voltage"]) for index in heard]
            if any(flags):
                response, place = Response.WARN, flags.index(True)
        self._note(heard[place], "voltage", response, volts[place])

    def _note_grip(self) -> None:
        """Say that the grip was loosened: the gripper's work, and no fault."""
        key = (GRIPPER, "grip")
        if not self._grip.fence.is_up:
            self._present.pop(key, None)
        elif key not in self._present:
            self._begin(key, GRIPPER, Response.GO, 0.0)

    def _note(self, index: int, kind: str, response: Response, value: float = 0.0) -> None:
        """Keep what a rule found: begun, grown worse or better, or gone."""
        key = (_SUPPLY if kind == "voltage" else index, kind)
        before = self._present.get(key)
        if response is Response.GO:
            if before is not None:
                del self._present[key]
        elif before is None or before.response is not response:
            self._begin(key, index, response, value)

    def _begin(self, key: tuple[int, str], index: int, response: Response, value: float) -> None:
        kind = key[1]
        before = self._present.get(key)
        sentence = _SENTENCES[kind, response].format(joint=JOINTS[index], value=value)
        finding = Finding(JOINTS[index], kind, response, sentence)
        self._present[key] = finding
        if before is None or response > before.response:
            self._news.append(finding)

    def _raise_news(self) -> None:
        faults = [finding for finding in self._news if finding.response is Response.STOP]
        if not faults:
            return
        text = "; ".join(finding.sentence for finding in faults)
        if any(finding.kind in _LOST for finding in faults):
            raise JointLost(text)
        raise ServoFault(text)

    def _health(self, observed: JointSample) -> Health:
        findings = tuple(self._present.values())
        response = max(finding.response for finding in findings)
        tripped = [bool(status & _TRIP_BITS) for status in observed.status]
        tripped[GRIPPER] = False  # it would drop what it holds; a goal of its own clears its trip
        return Health(
            response,
            rules.DERATED_SPEED_FACTOR if response >= Response.DERATE else 1.0,
            np.array(tripped),
            findings,
            tuple(self._news),
            tuple(fence.not_below_deg for fence in self._fences),
            tuple(fence.not_above_deg for fence in self._fences),
        )
