"""A recording session on a running control loop.

One tick listener opens, feeds and closes the episode journals. The loop never stops between
episodes, so teleoperation goes on while an episode is saved and the scene is put back. Who decides
when an episode begins and ends is an `Operator`: a person's keys, or a script at the twin's side.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from rich.console import Console

from record.episode import Action, Event, Session, SessionPlan, State, advance, timeout
from record.header import CameraHeader, JournalHeader, boot_id, software_versions, utc_now
from record.journal import EpisodeRecorder, JournalWriter, discard_saved, next_journal_path
from robot.errors import StorageFull
from robot.loop import Tick
from robot.messages import Facts
from scripts.operators import Operator
from scripts.rig_session import Rig


def session_header(rig: Rig, task: str, facts: Facts) -> JournalHeader:
    """Return what the headers of a session's journals have in common; read once, before torque."""
    profile = rig.profile
    calibrations = {"follower": facts.follower_sha256, "leader": facts.leader_sha256}
    return JournalHeader(
        episode=0,
        task=task,
        rig_name=profile.name,
        rig_toml=rig.path.read_text(),
        control_rate_hz=profile.control_rate_hz,
        cameras={
            name: CameraHeader(camera.width, camera.height, camera.fps)
            for name, camera in profile.cameras.items()
        },
        calibration_sha256={role: sha256 for role, sha256 in calibrations.items() if sha256},
        gains=facts.gains,
        software=software_versions(),
        boot_id=boot_id(),
    )


def first_number(folder: Path) -> int:
    """Return the first episode number that nothing in the folder has had."""
    return int(next_journal_path(folder).stem.removeprefix("episode_"))


def journal_path(folder: Path, number: int) -> Path:
    """Return where the episode of a number goes."""
    return folder / f"episode_{number:06d}.mcap"


def new_paths(folder: Path) -> Callable[[int], Path]:
    """Return what names each next journal; the folder is looked at once, now."""
    numbers = count(first_number(folder))
    return lambda _saved: journal_path(folder, next(numbers))


class RecordingSession:
    """Tick listener: carries out what the state machine asks for.

    Use as a context around the loop: an orderly end finishes the episode under way, an error leaves
    it as `.part`, readable up to its last message and not exported unless asked for.
    """

    def __init__(
        self,
        rig: Rig,
        plan: SessionPlan,
        operator: Operator,
        header: JournalHeader,
        new_path: Callable[[int], Path],
        console: Console,
    ) -> None:
        """Take the `session_header`, and `new_path(saved)`: where the next episode goes."""
        self.session = Session(plan, since_s=rig.clock.now_s())
        self.saved_paths: list[Path] = []
        self._rig = rig
        self._operator = operator
        self._header = header
        self._new_path = new_path
        self._console = console
        self._writer: JournalWriter | None = None
        self._recorder: EpisodeRecorder | None = None

    @property
    def is_done(self) -> bool:
        """Tell whether the session is over."""
        return self.session.state is State.DONE

    def on_tick(self, tick: Tick) -> None:
        """Record, then let time and operator act; on the walk to rest nothing begins or ends."""
        if self._recorder is not None:
            with self._ending_when_full():
                self._recorder.on_tick(tick)
        else:
            for camera in self._rig.cameras.values():
                camera.latest()  # a dead one is heard of now, not when the next episode begins
        if tick.phase == "rest":
            return
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

    def on_gap(self, first: int, last: int) -> None:
        """Note in the journal that ticks are missing: this process fell too far behind."""
        if self._writer is not None:
            with self._ending_when_full():
                self._writer.event("gap", self._rig.clock.now_s(), first=first, last=last)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the session; the arm must have been let go before."""
        now_s = self._rig.clock.now_s()
        if error is not None:
            self._abandon(now_s, str(error) or type(error).__name__)
        elif not self.is_done:
            self.apply(Event.QUIT, now_s)

    def _abandon(self, now_s: float, reason: str) -> None:
        """Leave the episode under way as it is; never raises, for an error is on its way."""
        if self._writer is None:
            return
        writer = self._take_writer()
        self.session = replace(self.session, state=State.DONE)
        with suppress(StorageFull):
            writer.event("failed", now_s, error=reason)
            writer.abandon()
        self._say(
            f"the episode under way stays as {writer.part_path.name}: "
            "so101 export --unfinished takes it too"
        )

    def _do(self, action: Action, now_s: float) -> None:
        match action:
            case Action.OPEN:
                path = self._new_path(self.session.saved)
                self._writer = JournalWriter(path, self._episode_header(now_s))
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

    def _episode_header(self, now_s: float) -> JournalHeader:
        scene = self._operator.scene
        return msgspec.structs.replace(
            self._header,
            episode=self.session.saved,
            started_s=now_s,
            started_utc=utc_now(),
            seed=None if scene is None else scene.seed,
            task_start="" if scene is None else msgspec.json.encode(scene.start).decode(),
        )

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)
