"""A recording session on a running control loop.

One tick listener opens, feeds and closes the episode journals. The loop never stops between
episodes, so teleoperation goes on while an episode is saved and the scene is put back. Who decides
when an episode begins and ends is an `Operator`: a person's keys, or a script at the twin's side.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import msgspec
from rich.console import Console

from record.episode import Action, Event, Session, SessionPlan, State, advance, timeout
from record.header import CameraHeader, JournalHeader, boot_id, software_versions, utc_now
from record.journal import EpisodeRecorder, JournalWriter, discard_saved
from record.terminal_keys import TerminalKeys, event_for_key
from robot.arm import Follower
from robot.errors import StorageFull
from robot.joints import SERVO_IDS
from robot.limits import GoalLimiter
from robot.loop import Tick
from robot.registers import NAMES
from scripts.rig_session import Rig
from sim.tasks.pick_red import TaskStart
from sim.twin_control import TwinControl

GAINS = ("P_Coefficient", "I_Coefficient", "D_Coefficient")
ASK_TWIN_EVERY_TICKS = 5
SETTLE_TICKS = 10  # after follower and leader agree, before an episode begins


class Operator(Protocol):
    """Who runs a session."""

    def events(self, session: Session, tick: Tick) -> list[Event]:
        """Return what happened since the last tick; must not block."""
        ...

    @property
    def start(self) -> TaskStart | None:
        """Return the scene of the episode under way, where a script has set it."""
        ...


class KeyOperator:
    """A person at the terminal."""

    start: TaskStart | None = None

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

    start: TaskStart | None = None

    def events(self, session: Session, tick: Tick) -> list[Event]:
        """Begin when idle."""
        return [Event.START] if session.state is State.IDLE else []


class TwinOperator:
    """A script beside the twin: sets each scene and lets the demonstrator work.

    It keeps what succeeded and tries again what did not.
    """

    def __init__(
        self, control: TwinControl, limiter: GoalLimiter, seeds: Callable[[int, int], int]
    ) -> None:
        """Take `seeds(episode, attempt)`: the seed of each try."""
        self._control = control
        self._limiter = limiter
        self._seeds = seeds
        self._attempt = 0
        self._agreed_ticks = -1
        self.start: TaskStart | None = None
        self.seed = 0
        self.failures = 0

    def events(self, session: Session, tick: Tick) -> list[Event]:
        """Prepare while idle or resetting; watch the hand while recording."""
        if session.state in (State.IDLE, State.RESET):
            return self._prepare(session)
        if session.state is State.RECORDING and tick.index % ASK_TWIN_EVERY_TICKS == 0:
            return self._watch()
        return []

    def _prepare(self, session: Session) -> list[Event]:
        if self._agreed_ticks < 0:
            self.seed = self._seeds(session.saved, self._attempt)
            self.start = self._control.reset(self.seed)
            self._limiter.rearm()
            self._agreed_ticks = 0
            return []
        self._agreed_ticks += not self._limiter.is_ramping
        if self._agreed_ticks < SETTLE_TICKS:
            return []
        self._agreed_ticks = -1
        self._control.set_hand("leader", "demonstrator", self.seed)
        return [Event.START]

    def _watch(self) -> list[Event]:
        status = self._control.status()
        if not status.hand_done["leader"]:
            return []
        if status.success:
            self._attempt = 0
            return [Event.SUCCESS]
        self._attempt += 1
        self.failures += 1
        return [Event.DISCARD]


@dataclass(frozen=True, slots=True)
class EpisodeSheet:
    """What a session writes into every journal's header."""

    task: str
    gains: dict[str, list[int]]


def read_gains(follower: Follower) -> dict[str, list[int]]:
    """Read P, I and D of the six servos: data and rollout must agree on them."""
    return {name: [follower.bus.read(i, NAMES[name]) for i in SERVO_IDS] for name in GAINS}


class RecordingSession:
    """Tick listener: carries out what the state machine asks for."""

    def __init__(
        self,
        rig: Rig,
        plan: SessionPlan,
        operator: Operator,
        sheet: EpisodeSheet,
        new_path: Callable[[int], Path],
        console: Console,
    ) -> None:
        """Take `new_path(saved)`: where the next episode goes, given how many were saved."""
        self.session = Session(plan, since_s=rig.clock.now_s())
        self.saved_paths: list[Path] = []
        self._rig = rig
        self._operator = operator
        self._sheet = sheet
        self._new_path = new_path
        self._console = console
        self._writer: JournalWriter | None = None
        self._recorder: EpisodeRecorder | None = None

    @property
    def is_done(self) -> bool:
        """Tell whether the session is over."""
        return self.session.state is State.DONE

    def on_tick(self, tick: Tick) -> None:
        """Record, then let time and operator act."""
        if self._recorder is not None:
            with self._ending_when_full():
                self._recorder.on_tick(tick)
        due = timeout(self.session, tick.time_s)
        events = ([due] if due is not None else []) + self._operator.events(self.session, tick)
        for event in events:
            self.apply(event, tick.time_s)

    def apply(self, event: Event, now_s: float) -> None:
        """Feed one event to the state machine and do what it says."""
        self.session, actions = advance(self.session, event, now_s)
        with self._ending_when_full():
            for action in actions:
                self._do(action, now_s)

    @contextmanager
    def _ending_when_full(self) -> Generator[None]:
        """End the session when the disk is full: the journal closed itself, as `.part`."""
        try:
            yield
        except StorageFull:
            self._writer = self._recorder = None
            self.session = replace(self.session, state=State.DONE)
            raise

    def finish(self, now_s: float) -> None:
        """End the session; an episode under way is kept."""
        if not self.is_done:
            self.apply(Event.QUIT, now_s)

    def _do(self, action: Action, now_s: float) -> None:
        match action:
            case Action.OPEN:
                path = self._new_path(self.session.saved)
                self._writer = JournalWriter(path, self._header(now_s))
                self._writer.event("start", now_s)
                self._recorder = EpisodeRecorder(self._writer, self._rig.cameras)
                self._say(f"recording episode {self.session.saved + 1}")
            case Action.SAVE:
                writer = self._take_writer()
                writer.event("end", now_s, outcome=self.session.outcome)
                writer.close()
                self.saved_paths.append(writer.path)
                self._say(
                    f"saved {writer.path.name} ({self.session.outcome}): {self.session.summary}"
                )
            case Action.DROP:
                self._take_writer().discard()
                self._say(f"discarded: {self.session.summary}")
            case Action.UNDO:
                path = self.saved_paths.pop()
                discard_saved(path)
                self._say(f"took back {path.name}: {self.session.summary}")

    def _take_writer(self) -> JournalWriter:
        writer = self._writer
        if writer is None:
            raise RuntimeError("an episode ends that never began")
        self._writer = self._recorder = None
        return writer

    def _header(self, now_s: float) -> JournalHeader:
        profile = self._rig.profile
        start = self._operator.start
        return JournalHeader(
            episode=self.session.saved,
            task=self._sheet.task,
            rig_name=profile.name,
            rig_toml=self._rig.path.read_text(),
            control_rate_hz=profile.control_rate_hz,
            cameras={
                name: CameraHeader(camera.width, camera.height, camera.fps)
                for name, camera in profile.cameras.items()
            },
            calibration_sha256={
                role: self._rig.calibration(role).sha256 for role in ("follower", "leader")
            },
            gains=self._sheet.gains,
            software=software_versions(),
            boot_id=boot_id(),
            started_s=now_s,
            started_utc=utc_now(),
            seed=None if start is None else start.seed,
            task_start="" if start is None else msgspec.json.encode(start).decode(),
        )

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)
