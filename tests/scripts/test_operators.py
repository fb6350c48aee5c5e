"""The demonstrator's operator never makes the loop wait, however slow the twin answers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest

from record.episode import Event, Session, SessionPlan, State
from robot.errors import NotConnected
from robot.joint_sample import JointSample
from robot.loop import Tick
from scripts.operators import SETTLE_TICKS, Scene, TwinOperator
from scripts.record_command import seeds_from
from scripts.twin_asker import Immediate, StatusWatch, twin_asker
from sim.faults import Fault
from sim.tasks.pick_red import TaskStart, sample_start
from sim.twin_control import DirectControl, RemoteControl, TwinStatus
from sim.twin_core import ArmName, HandName

WAIT_S = 5.0


@dataclass
class SlowControl:
    """Answers a request only when the test lets it."""

    answers: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    asked: list[str] = field(default_factory=list[str])
    is_done: bool = False
    is_gone: bool = False

    def reset(self, seed: int) -> TaskStart:
        self._wait(f"reset {seed}")
        return sample_start(np.random.default_rng(seed))

    def place(self, start: TaskStart) -> None:
        self._wait("place")

    def set_hand(self, arm: ArmName, hand: HandName, seed: int = 0) -> None:
        self._wait(f"{hand} {seed}")

    def inject(self, fault: Fault, arm: ArmName = "follower") -> None:
        self._wait(f"inject {fault}")

    def clear_faults(self) -> None:
        self._wait("clear faults")

    def status(self) -> TwinStatus:
        self._wait("status")
        if self.is_gone:
            raise NotConnected("the twin does not answer")
        hands: dict[ArmName, bool] = {"leader": self.is_done, "follower": True}
        return TwinStatus(0.0, hands, success=self.is_done, red_height_m=0.1)

    def _wait(self, what: str) -> None:
        self.asked.append(what)
        assert self.answers.acquire(timeout=WAIT_S)


class ReadyFollower:
    """A follower that agrees at once; counts how often it started over."""

    def __init__(self) -> None:
        self.rearmed = 0

    def rearm(self) -> None:
        self.rearmed += 1


class Ticking:
    """A clock that stands at a time until it is set."""

    time_s = 0.0

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, deadline_s: float) -> None:
        self.time_s = deadline_s


def tick(index: int, *, is_ramping: bool = False) -> Tick:
    six = np.zeros(6)
    sample = JointSample(six, six, six, six, six, six, six, (0,) * 6)
    now_s = index * 0.01
    return Tick(index, now_s, 0.0, 0, sample, six, six, now_s, is_ramping=is_ramping)


def run_until(operator: TwinOperator, session: Session, asked: SlowControl, count: int) -> Event:
    """Tick at full speed until an event comes, which needs `count` answers."""
    for index in range(200):  # none of these may wait: nobody answers
        assert operator.events(session, tick(index)) == []
    for _ in range(count):
        asked.answers.release()
    deadline = threading.Event()
    for index in range(200, 1200):
        events = operator.events(session, tick(index))
        if events:
            return events[0]
        deadline.wait(0.005)
    raise AssertionError(f"no event; asked {asked.asked}")


@pytest.mark.timeout(30)
def test_the_loop_goes_on_while_the_twin_is_silent() -> None:
    control, follower = SlowControl(), ReadyFollower()
    idle = Session(SessionPlan(3))
    with ThreadPoolExecutor(1) as asker:
        operator = TwinOperator(control, asker, follower, Ticking(), seeds_from(7, 0))

        assert run_until(operator, idle, control, 2) is Event.START
        assert operator.scene == Scene(7, sample_start(np.random.default_rng(7)))
        assert control.asked == ["reset 7", "demonstrator 7"]
        assert follower.rearmed >= 200  # as long as nobody knows where the arms are
        control.is_done = True
        recording = Session(SessionPlan(3), State.RECORDING)
        assert run_until(operator, recording, control, 1) is Event.SUCCESS


def test_ticks_from_before_the_scene_was_placed_say_nothing_about_it() -> None:
    """They are on their way from the control process when the twin's answer comes."""
    control, clock = SlowControl(threading.Semaphore(9)), Ticking()
    operator = TwinOperator(control, Immediate(), ReadyFollower(), clock, seeds_from(0, 0))
    idle = Session(SessionPlan(1))
    clock.time_s = 0.5
    started = [Event.START] in [operator.events(idle, tick(index)) for index in range(50)]
    late = [operator.events(idle, tick(50 + index)) for index in range(SETTLE_TICKS)]

    assert not started
    assert [Event.START] in late


def test_an_episode_begins_when_the_follower_agrees() -> None:
    operator = TwinOperator(
        SlowControl(threading.Semaphore(9)),
        Immediate(),
        ReadyFollower(),
        Ticking(),
        seeds_from(0, 0),
    )
    idle = Session(SessionPlan(1))
    ramping = [operator.events(idle, tick(index, is_ramping=True)) for index in range(50)]
    agreed = [operator.events(idle, tick(50 + index)) for index in range(SETTLE_TICKS)]

    assert not any(ramping)
    assert agreed[-1] == [Event.START]


def test_a_twin_that_is_gone_ends_the_session() -> None:
    control = SlowControl(threading.Semaphore(9), is_gone=True)
    operator = TwinOperator(control, Immediate(), ReadyFollower(), Ticking(), seeds_from(0, 0))
    events = [operator.events(Session(SessionPlan(1)), tick(i)) for i in range(SETTLE_TICKS + 2)]

    assert [Event.START] in events
    with pytest.raises(NotConnected, match="does not answer"):
        operator.events(Session(SessionPlan(1), State.RECORDING), tick(99))


def test_a_status_is_asked_for_once_a_period_and_given_once() -> None:
    control = SlowControl(threading.Semaphore(99))
    watch = StatusWatch(control, Immediate(), 0.2)
    given = [watch.poll(index * 0.01) is not None for index in range(41)]

    assert [index for index, was in enumerate(given) if was] == [0, 20, 40]
    assert watch.last is not None


def test_only_a_running_twin_is_asked_from_a_thread() -> None:
    remote = RemoteControl("ipc:///nobody-is-there")
    with twin_asker(remote) as asker:
        assert isinstance(asker, ThreadPoolExecutor)
    remote.close()
    assert isinstance(twin_asker(DirectControl.__new__(DirectControl)), Immediate)


def test_seeds_of_a_later_session_count_on_and_tries_never_meet() -> None:
    first, later = seeds_from(500, 0), seeds_from(500, 2)

    assert [first(0, 0), first(0, 1), first(1, 0)] == [500, 501, 1500]
    assert later(0, 0) == first(2, 0) == 2500
