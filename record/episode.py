"""A recording session as a pure state machine: idle → recording → reset → recording → … → done.

It opens no file and reads no key. Somebody hands in events (a key, a flag, a timeout) and carries
out the actions that come back; so the same machine serves a person, a script and a test. An event
that means nothing in the present state does nothing, and nothing is latched: a key pressed in one
state never acts in the next (LeRobot's recorder crashed on that).
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from robot.errors import ConfigError


class State(Enum):
    """Where a session is."""

    IDLE = auto()  # teleoperation runs, nothing is recorded yet
    RECORDING = auto()
    RESET = auto()  # teleoperation goes on; the scene is put back
    DONE = auto()


class Event(Enum):
    """What may happen to a session."""

    START = auto()  # begin an episode
    STOP = auto()  # end it and keep it
    SUCCESS = auto()  # end it and keep it, marked
    FAIL = auto()
    DISCARD = auto()  # throw away the episode under way, or the one just saved
    QUIT = auto()  # end the session; an episode under way is kept


class Action(Enum):
    """What the caller has to do."""

    OPEN = auto()  # begin a journal
    SAVE = auto()  # close it, with the `outcome` of the session
    DROP = auto()  # discard the journal under way
    UNDO = auto()  # discard the journal saved last


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """What a session is to collect; infinite times mean that only a key ends the state."""

    episodes: int
    episode_s: float = float("inf")
    reset_s: float = float("inf")

    def __post_init__(self) -> None:
        """Refuse a plan that can never end or never begin."""
        if self.episodes < 1:
            raise ConfigError(f"a session needs at least one episode, not {self.episodes}")
        if self.episode_s <= 0 or self.reset_s < 0:
            raise ConfigError(
                f"an episode of {self.episode_s} s and a reset of {self.reset_s} s: "
                "give a positive length and a reset of 0 s or more"
            )


@dataclass(frozen=True, slots=True)
class Session:
    """The present state; replaced, never changed."""

    plan: SessionPlan
    state: State = State.IDLE
    since_s: float = 0.0  # when this state began
    saved: int = 0
    marked_failed: int = 0
    outcome: str = "unmarked"  # of the episode saved last: success, fail, unmarked

    @property
    def summary(self) -> str:
        """Return one line for the operator."""
        failed = f", {self.marked_failed} marked failed" if self.marked_failed else ""
        return f"{self.saved} of {self.plan.episodes}{failed}"


def advance(session: Session, event: Event, now_s: float) -> tuple[Session, tuple[Action, ...]]:
    """Apply one event; returns the next session and what to do, in order."""
    if session.state is State.RECORDING:
        return _from_recording(session, event, now_s)
    if session.state in {State.IDLE, State.RESET}:
        if event is Event.START:
            return _enter(session, State.RECORDING, now_s), (Action.OPEN,)
        if event is Event.QUIT:
            return _enter(session, State.DONE, now_s), ()
        if event is Event.DISCARD and session.state is State.RESET and session.saved > 0:
            failed = session.marked_failed - (session.outcome == "fail")
            undone = replace(
                session, saved=session.saved - 1, marked_failed=failed, outcome="unmarked"
            )
            return _enter(undone, State.IDLE, now_s), (Action.UNDO,)
    return session, ()


def timeout(session: Session, now_s: float) -> Event | None:
    """Return the event that the passing of time causes, if any."""
    elapsed_s = now_s - session.since_s
    if session.state is State.RECORDING and elapsed_s >= session.plan.episode_s:
        return Event.STOP
    if session.state is State.RESET and elapsed_s >= session.plan.reset_s:
        return Event.START
    return None


def _from_recording(
    session: Session, event: Event, now_s: float
) -> tuple[Session, tuple[Action, ...]]:
    if event is Event.START:
        return session, ()
    if event is Event.DISCARD:
        return _enter(session, State.RESET if session.saved else State.IDLE, now_s), (Action.DROP,)
    outcome = {Event.SUCCESS: "success", Event.FAIL: "fail"}.get(event, "unmarked")
    kept = replace(
        session,
        saved=session.saved + 1,
        marked_failed=session.marked_failed + (outcome == "fail"),
        outcome=outcome,
    )
    is_over = event is Event.QUIT or kept.saved >= kept.plan.episodes
    return _enter(kept, State.DONE if is_over else State.RESET, now_s), (Action.SAVE,)


def _enter(session: Session, state: State, now_s: float) -> Session:
    return replace(session, state=state, since_s=now_s)
