import pytest
from hypothesis import given
from hypothesis import strategies as st

from record.episode import Action, Event, Session, SessionPlan, State, advance, timeout
from robot.errors import ConfigError


def run(session: Session, *events: Event) -> tuple[Session, list[Action]]:
    actions: list[Action] = []
    for number, event in enumerate(events):
        session, more = advance(session, event, float(number))
        actions.extend(more)
    return session, actions


def test_records_as_many_episodes_as_planned() -> None:
    session, actions = run(
        Session(SessionPlan(episodes=2)), Event.START, Event.STOP, Event.START, Event.SUCCESS
    )

    assert session.state is State.DONE
    assert session.saved == 2
    assert session.outcome == "success"
    assert actions == [Action.OPEN, Action.SAVE, Action.OPEN, Action.SAVE]


def test_a_failed_episode_is_kept_and_counted() -> None:
    session, actions = run(Session(SessionPlan(episodes=12)), Event.START, Event.FAIL)

    assert actions == [Action.OPEN, Action.SAVE]
    assert session.summary == "1 of 12, 1 marked failed"


def test_discard_drops_the_episode_under_way() -> None:
    session, actions = run(Session(SessionPlan(episodes=2)), Event.START, Event.DISCARD)

    assert actions == [Action.OPEN, Action.DROP]
    assert session.saved == 0
    assert session.state is State.IDLE


def test_discard_after_the_end_takes_the_saved_one_back_once() -> None:
    session, actions = run(
        Session(SessionPlan(episodes=5)),
        *(Event.START, Event.FAIL, Event.DISCARD, Event.DISCARD),
    )

    assert actions == [Action.OPEN, Action.SAVE, Action.UNDO]
    assert (session.saved, session.marked_failed) == (0, 0)


def test_quit_keeps_the_episode_under_way() -> None:
    session, actions = run(Session(SessionPlan(episodes=5)), Event.START, Event.QUIT)

    assert actions == [Action.OPEN, Action.SAVE]
    assert (session.state, session.saved) == (State.DONE, 1)


def test_time_ends_an_episode_and_a_reset() -> None:
    session = Session(SessionPlan(episodes=5, episode_s=10.0, reset_s=2.0))
    assert timeout(session, 1e9) is None
    session, _ = advance(session, Event.START, 100.0)

    assert timeout(session, 109.9) is None
    assert timeout(session, 110.0) is Event.STOP
    session, _ = advance(session, Event.STOP, 110.0)
    assert timeout(session, 111.9) is None
    assert timeout(session, 112.0) is Event.START


@given(events=st.lists(st.sampled_from(list(Event)), max_size=40))
def test_whatever_is_pressed_journals_are_opened_and_closed_in_turn(events: list[Event]) -> None:
    session = Session(SessionPlan(episodes=3))
    is_open = False
    kept = 0
    for number, event in enumerate(events):
        session, actions = advance(session, event, float(number))
        for action in actions:
            assert is_open == (action in {Action.SAVE, Action.DROP})
            is_open = action is Action.OPEN
            kept += {Action.SAVE: 1, Action.UNDO: -1}.get(action, 0)
        assert is_open == (session.state is State.RECORDING)
        assert kept == session.saved
        assert 0 <= session.marked_failed <= session.saved <= 3


@pytest.mark.parametrize(("episodes", "episode_s", "reset_s"), [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_an_impossible_plan_is_refused(episodes: int, episode_s: float, reset_s: float) -> None:
    with pytest.raises(ConfigError):
        SessionPlan(episodes=episodes, episode_s=episode_s, reset_s=reset_s)
