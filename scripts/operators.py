"""Who runs a recording session: a person's keys, the clock, or a script at the twin's side."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import NamedTuple, Protocol

from record.episode import Event, Session, State
from record.terminal_keys import TerminalKeys, event_for_key
from robot.clock import Clock
from robot.loop import Tick
from scripts.twin_asker import StatusWatch
from sim.tasks.pick_red import TaskStart
from sim.twin_control import TwinControl

ASK_TWIN_PERIOD_S = 0.05
SETTLE_TICKS = 10  # after follower and leader agree, before an episode begins


class Scene(NamedTuple):
    """A scene of the twin: `control.reset(seed)` makes it again."""

    seed: int
    start: TaskStart


class Operator(Protocol):
    """Who runs a session."""

    def events(self, session: Session, tick: Tick) -> list[Event]:
        """Return what happened since the last tick; must not block."""
        ...

    @property
    def scene(self) -> Scene | None:
        """Return the scene of the episode under way, where a script has set it."""
        ...


class Rearmable(Protocol):
    """Whoever has the follower, as an operator sees it: `scripts.driving.ArmControl`."""

    def rearm(self) -> None:
        """Ramp again from where the follower stands, in every tick from now on."""
        ...


class KeyOperator:
    """A person at the terminal."""

    scene: Scene | None = None

    def __init__(self, keys: TerminalKeys) -> None:
        self._keys = keys

    def events(self, session: Session, tick: Tick) -> list[Event]:
        """Translate the keys pressed."""
        found = [event_for_key(key, session.state) for key in self._keys.poll()]
        return [event for event in found if event is not None]


class TimedOperator:
    """Nobody: the session's own times end episodes and resets.

    Only the first episode has to be begun.
    """

    scene: Scene | None = None

    def events(self, session: Session, tick: Tick) -> list[Event]:
        """Begin when idle."""
        return [Event.START] if session.state is State.IDLE else []


class TwinOperator:
    """A script beside the twin: sets each scene and lets the demonstrator work.

    It keeps what succeeded and tries again what did not.
    """

    def __init__(
        self,
        control: TwinControl,
        asker: Executor,
        follower: Rearmable,
        clock: Clock,
        seeds: Callable[[int, int], int],
    ) -> None:
        """Take `seeds(episode, attempt)`: the seed of each try; `asker` carries the requests."""
        self._control = control
        self._asker = asker
        self._follower = follower
        self._clock = clock
        self._seeds = seeds
        self._seed = 0
        self._attempt = 0
        self._placing: Future[TaskStart] | None = None
        self._handing: Future[None] | None = None
        self._watch: StatusWatch | None = None
        self._agreed_ticks = 0
        self._rearmed_s = 0.0
        self.scene: Scene | None = None
        self.failures = 0

    def events(self, session: Session, tick: Tick) -> list[Event]:
        """Prepare while idle or resetting; watch the hand while recording."""
        if session.state in (State.IDLE, State.RESET):
            return self._prepare(session, tick)
        if session.state is State.RECORDING:
            return self._judge(tick.time_s)
        return []

    def _prepare(self, session: Session, tick: Tick) -> list[Event]:
        """Place the scene, wait until the follower agrees, hand the leader over, begin."""
        if self._placing is None:
            self.scene = None
            self._seed = self._seeds(session.saved, self._attempt)
            self._placing = self._asker.submit(self._control.reset, self._seed)
            self._agreed_ticks = 0
        if self.scene is None:
            is_placed = self._placing.done()
            self._follower.rearm()  # the arms are put elsewhere: goals start from there
            self._rearmed_s = self._clock.now_s()
            if is_placed:
                self.scene = Scene(self._seed, self._placing.result())
            return []
        if self._handing is None:
            is_since = tick.time_s >= self._rearmed_s  # older ticks are still on their way
            self._agreed_ticks += is_since and not tick.is_ramping
            if self._agreed_ticks < SETTLE_TICKS:
                return []
            self._handing = self._asker.submit(
                self._control.set_hand, "leader", "demonstrator", self._seed
            )
        if not self._handing.done():
            return []
        self._handing.result()
        self._placing = self._handing = None
        self._watch = StatusWatch(self._control, self._asker, ASK_TWIN_PERIOD_S)
        return [Event.START]

    def _judge(self, now_s: float) -> list[Event]:
        status = None if self._watch is None else self._watch.poll(now_s)
        if status is None or not status.hand_done["leader"]:
            return []
        if status.success:
            self._attempt = 0
            return [Event.SUCCESS]
        self._attempt += 1
        self.failures += 1
        return [Event.DISCARD]
