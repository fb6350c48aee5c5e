"""The streams between control and session, in one process: what is lost, and that it is told."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from robot.health import GOOD, Finding, Health, Response
from robot.joint_sample import JointSample
from robot.loop import Tick
from robot.messages import (
    Bye,
    Codec,
    Command,
    Done,
    DriveEnded,
    Failure,
    Gap,
    GoalAsked,
    Hello,
    Live,
    Off,
    Rearm,
    Record,
    Request,
    Said,
    Stop,
    TickTold,
    TorqueOn,
)
from robot.streams import (
    SENT_AT_ONCE,
    SOCKET_QUEUE,
    Asked,
    ControlStreams,
    RecordRing,
    RecordSender,
    SessionStreams,
)
from robot.torque import TorqueState, TorqueStates

TORQUE = TorqueStates((TorqueState.OFF,) * 4 + (TorqueState.ON, TorqueState.UNREACHABLE))
RATE_HZ = 10.0  # a ring of 350 messages
FAR_S = 1e9
LONG_S = 5.0
LONG_MS = 5000


def sample(time_s: float = 1.0) -> JointSample:
    a, b, c, d, e, f = np.random.default_rng(0).normal(size=(6, 6))
    return JointSample(np.full(6, time_s), a, b, c, d, e, f, (0, 0, 32, 0, 0, 1))


def tick(index: int) -> Tick:
    finding = Finding("elbow_flex", "overload", Response.HOLD, "elbow_flex is overloaded")
    health = Health(Response.HOLD, 0.5, np.arange(6) == 2, (finding,), (finding,))
    return Tick(
        index=index,
        time_s=0.01 * index,
        lateness_s=0.0002,
        missed=3,
        observed=sample(),
        asked_deg=np.array([1.0, 2.0, 3.0, -4.0, -5.0, 0.1]),
        sent_deg=np.array([1.5, 2.5, 3.5, -4.5, -5.5, 0.2]),
        sent_s=0.002,
        health=health if index % 2 else GOOD,
        news=(finding,),
        is_ramping=True,
        phase="rest",
    )


def said(number: int) -> Said:
    return Said(number, 0.0, str(number))


class Reader:
    """A reader that takes `room` messages and then stalls."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken: list[Record] = []
        self._codec: Codec[Record] = Codec(Record)

    def take(self, data: bytes) -> bool:
        if len(self.taken) >= self.room:
            return False
        self.taken.append(self._codec.decode(data))
        return True


@pytest.fixture
def ends(short_path: Path) -> Iterator[tuple[ControlStreams, SessionStreams]]:
    control = ControlStreams(short_path, RATE_HZ)
    session = SessionStreams(short_path)
    yield control, session
    session.close()
    control.close(linger_s=0.0)


# -- messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1])
def test_a_tick_comes_back_as_it_went(index: int) -> None:
    codec: Codec[Record] = Codec(Record)
    sent = tick(index)

    told = codec.decode(codec.encode(TickTold(7, 1, sent)))

    assert isinstance(told, TickTold)
    assert told.number == 7
    np.testing.assert_equal(
        [getattr(told.tick.observed, name) for name in JointSample.__slots__],
        [getattr(sent.observed, name) for name in JointSample.__slots__],
    )
    assert told.tick.observed.position_deg.flags.writeable
    np.testing.assert_equal(told.tick.asked_deg, sent.asked_deg)
    np.testing.assert_equal(told.tick.sent_deg, sent.sent_deg)
    np.testing.assert_equal(told.tick.health.yielding, sent.health.yielding)
    assert told.tick.health.yielding.dtype == np.bool_
    assert told.tick.health.response is sent.health.response
    assert told.tick.news == sent.news
    names = ("index", "time_s", "lateness_s", "missed", "sent_s", "is_ramping", "phase")
    assert [getattr(told.tick, n) for n in names] == [getattr(sent, n) for n in names]


def test_a_tick_is_small(short_path: Path) -> None:
    codec: Codec[Record] = Codec(Record)

    assert len(codec.encode(TickTold(10**6, 1, tick(0)))) < 1200  # 30 s at 200 Hz: 7 MB


# -- record ----------------------------------------------------------------------------------------


def test_a_reader_that_keeps_up_hears_everything_in_order() -> None:
    reader = Reader(room=1000)
    sender = RecordSender(reader.take, capacity=4)

    for number in range(100):
        sender.tell(said(number))

    assert reader.taken == [said(number) for number in range(100)]


def test_a_reader_that_stalls_for_less_than_the_ring_loses_nothing() -> None:
    reader = Reader(room=3)
    sender = RecordSender(reader.take, capacity=50)
    for number in range(53):  # 3 taken, 50 kept
        sender.tell(said(number))

    reader.room = 1000
    sender.pump()
    sender.pump()

    assert reader.taken == [said(number) for number in range(53)]


def test_a_reader_that_falls_behind_farther_is_told_the_missing_numbers() -> None:
    reader = Reader(room=3)
    sender = RecordSender(reader.take, capacity=10)
    for number in range(20):
        sender.tell(said(number))

    reader.room = 1000
    sender.pump()

    expected: list[Record] = [said(n) for n in range(3)]
    assert reader.taken == [*expected, Gap(3, 9), *(said(n) for n in range(10, 20))]


def test_a_gap_that_grows_before_it_could_be_told_is_told_whole() -> None:
    reader = Reader(room=0)
    sender = RecordSender(reader.take, capacity=10)
    for number in range(15):
        sender.tell(said(number))
    reader.room = 1  # for the gap alone
    sender.pump()
    for number in range(15, 30):
        sender.tell(said(number))

    reader.room = 1000
    sender.pump()

    assert reader.taken == [Gap(0, 4), Gap(5, 19), *(said(n) for n in range(20, 30))]


def test_catching_up_takes_a_bounded_number_of_messages_a_tick() -> None:
    reader = Reader(room=0)
    sender = RecordSender(reader.take, capacity=1000)
    for number in range(1000):
        sender.tell(said(number))

    reader.room = 10_000
    sender.pump()

    assert len(reader.taken) == SENT_AT_ONCE


def test_the_ring_keeps_the_newest_and_never_grows() -> None:
    ring = RecordRing(4)

    for number in range(10):
        ring.append(str(number).encode())

    assert ring.oldest == 6
    assert [ring[n] for n in range(6, 10)] == [b"6", b"7", b"8", b"9"]
    for number in (5, 10):
        with pytest.raises(IndexError):
            ring[number]


def test_the_record_reaches_the_session_with_a_gap_where_the_reader_stalled(
    ends: tuple[ControlStreams, SessionStreams],
) -> None:
    control, session = ends
    last = 350 + 4 * SOCKET_QUEUE + 20_000  # more than ring, queues and the kernel's buffer hold
    for number in range(last):
        control.record.tell(said(number))

    numbers: list[int] = []
    gaps: list[Gap] = []
    while not numbers or numbers[-1] < last - 1:
        session.wait(0.01)
        control.record.pump()
        while (message := session.next_record()) is not None:
            if isinstance(message, Gap):
                gaps.append(message)
            else:
                assert isinstance(message, Said)
                numbers.append(message.number)

    lost = {number for gap in gaps for number in range(gap.first, gap.last + 1)}
    assert lost
    assert numbers == [number for number in range(last) if number not in lost]


def test_what_ended_a_drive_travels_as_an_error_and_torque_states(
    ends: tuple[ControlStreams, SessionStreams],
) -> None:
    control, session = ends
    ended = DriveEnded(0, 3, TORQUE, Failure("ServoFault", "hot"))

    control.record.tell(ended)
    received = None
    while received is None:  # until the reader has connected
        control.record.pump()
        session.wait(0.01)
        received = session.next_record()

    assert received == ended


# -- live ------------------------------------------------------------------------------------------


def test_a_stalled_reader_of_the_live_stream_sees_the_newest(
    ends: tuple[ControlStreams, SessionStreams],
) -> None:
    control, session = ends
    number = 0
    while session.newest() is None:  # until the subscription is there
        number += 1
        control.publish(Live(number, 0.0, "idle", sample()))
        session.wait(0.01)

    for number in range(1000, 6000):
        control.publish(Live(number, 0.0, "drive", sample()))

    seen: list[int] = []
    while not seen or seen[-1] < 5999:
        session.wait(LONG_S)
        live = session.newest()
        assert live is not None
        seen.append(live.number)
    assert seen == sorted(set(seen))
    assert len(seen) < 100  # of 5000: a few on the way, never the backlog


def test_goals_overtake_each_other_and_goals_of_an_earlier_drive_are_refused(
    ends: tuple[ControlStreams, SessionStreams],
) -> None:
    control, session = ends
    poller = zmq.Poller()
    poller.register(control._goals, zmq.POLLIN)

    session.send_goal(GoalAsked(1, 0.5, np.zeros(6)))
    poller.poll(LONG_MS)
    assert control.newest_goal(generation=2) is None

    for made_s in range(100):
        session.send_goal(GoalAsked(2, float(made_s), np.full(6, float(made_s))))
    newest = -1.0
    while newest < 99:
        poller.poll(LONG_MS)
        goal = control.newest_goal(generation=2)
        if goal is not None:
            assert goal.made_s > newest
            newest = goal.made_s
    assert control.newest_goal(generation=2) is None


# -- commands --------------------------------------------------------------------------------------


def taken(control: ControlStreams, now_s: float) -> Asked | None:
    control._commands.poll(LONG_MS)
    return control.next_request(now_s)


def test_a_command_is_answered_under_its_id(ends: tuple[ControlStreams, SessionStreams]) -> None:
    control, session = ends
    first = session.request(Hello(), FAR_S)
    second = session.request(Stop(), FAR_S)

    asked = [taken(control, 0.0), taken(control, 0.0)]
    for each in asked:
        assert each is not None
        each.answer(Done())

    assert [each.command for each in asked if each is not None] == [Hello(), Stop()]
    assert session.reply(second, LONG_S) == Done()  # the first's is dropped on the way
    assert session.reply(first, 0.0) is None


def test_a_command_that_nobody_waits_for_any_more_is_not_carried_out(
    ends: tuple[ControlStreams, SessionStreams],
) -> None:
    control, session = ends
    session.request(TorqueOn(), deadline_s=5.0)
    session.request(Hello(), deadline_s=7.0)

    asked = taken(control, now_s=6.0)

    assert asked is not None
    assert asked.command == Hello()
    assert control.next_request(6.0) is None


@pytest.mark.parametrize("command", [Stop(), Off(), Bye()])
def test_what_lets_go_is_never_too_late(
    ends: tuple[ControlStreams, SessionStreams], command: Command
) -> None:
    control, session = ends
    session.request(command, deadline_s=5.0)

    asked = taken(control, now_s=6.0)

    assert asked is not None
    assert asked.command == command


def test_garbage_is_no_command(ends: tuple[ControlStreams, SessionStreams]) -> None:
    control, session = ends
    for garbage in (b"", b"\xc1", b"\x93\xa4Stop", Codec(Request).encode(Request(1, 0.0, Rearm()))):
        session._commands.send(garbage)
    session.request(Hello(), FAR_S)

    asked = None
    while asked is None:
        asked = taken(control, now_s=1.0)

    assert asked.command == Hello()


def test_a_reply_to_nobody_is_dropped(ends: tuple[ControlStreams, SessionStreams]) -> None:
    control, session = ends
    session.request(Hello(), FAR_S)
    asked = taken(control, 0.0)
    assert asked is not None

    session.close()

    asked.answer(Done())
