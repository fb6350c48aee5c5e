"""A recording session as a tick listener: what it writes, and how it ends."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from record.episode import SessionPlan
from record.header import JournalHeader
from record.journal_reader import Journal, read_journal
from robot.errors import CameraLost
from robot.frames import CameraReader, Frame
from robot.joint_sample import JointSample
from robot.loop import Tick
from robot.rig import load_rig
from scripts.operators import TimedOperator
from scripts.recording import RecordingSession
from scripts.rig_session import Rig

RIG = Path("configs/twin.toml")
HEADER = JournalHeader(episode=0, task="lift", rig_name="twin", rig_toml="", control_rate_hz=100.0)


class SetClock:
    """A clock that stands."""

    def now_s(self) -> float:
        return 2000.0

    def sleep_until(self, deadline_s: float) -> None:
        raise NotImplementedError


class Camera:
    """A camera that may break off."""

    name = "wrist"

    def __init__(self) -> None:
        self.is_lost = False

    def take(self) -> list[Frame]:
        self.latest()
        return []

    def latest(self) -> Frame | None:
        if self.is_lost:
            raise CameraLost("camera 'wrist' broke off")
        return None

    def close(self) -> None:
        pass


def tick(index: int) -> Tick:
    six = np.zeros(6)
    sample = JointSample(six, six, six, six, six, six, six, (0,) * 6)
    now_s = 1000.0 + index / 100
    return Tick(index, now_s, 0.0, 0, sample, six, six, now_s)


def session(folder: Path, cameras: dict[str, CameraReader], episode_s: float) -> RecordingSession:
    """Give a session of two episodes that a clock begins and ends."""

    def no_bus(_: object) -> None:
        raise AssertionError("a session opens no bus")

    rig = Rig(RIG, load_rig(RIG), SetClock(), no_bus, cameras, None)  # type: ignore[arg-type]
    return RecordingSession(
        rig,
        SessionPlan(2, episode_s, 1.0),
        TimedOperator(),
        HEADER,
        lambda saved: folder / f"episode_{saved:06d}.mcap",
        Console(quiet=True),
    )


def run(recording: RecordingSession, camera: Camera, *, lost_after: int) -> None:
    for index in range(lost_after + 1):
        camera.is_lost = index == lost_after
        recording.on_tick(tick(index))


def read(path: Path) -> tuple[Journal, list[str]]:
    journal = read_journal(path)
    return journal, [event.name for event in journal.events]


def test_an_orderly_end_finishes_the_episode_under_way(tmp_path: Path) -> None:
    with session(tmp_path, {}, float("inf")) as recording:
        for index in range(5):
            recording.on_tick(tick(index))

    journal, names = read(tmp_path / "episode_000000.mcap")
    assert journal.is_complete
    assert names == ["start", "end"]
    assert list(journal.goals.tick) == [1, 2, 3, 4]


def test_the_walk_to_rest_begins_no_episode_and_ends_none(tmp_path: Path) -> None:
    with session(tmp_path, {}, 0.05) as recording:
        recording.on_tick(tick(0))
        recording.on_tick(tick(1))
        for index in range(2, 400):  # an episode and a reset would be over
            recording.on_tick(replace(tick(index), phase="rest"))

    journal, names = read(tmp_path / "episode_000000.mcap")
    assert names == ["start", "stop", "end"]
    assert list(journal.goals.tick) == [1]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_gap_in_the_record_is_in_the_journal(tmp_path: Path) -> None:
    with session(tmp_path, {}, float("inf")) as recording:
        recording.on_gap(1, 2)  # nothing is being recorded yet
        recording.on_tick(tick(0))
        recording.on_tick(tick(1))
        recording.on_gap(17, 40)

    journal, names = read(tmp_path / "episode_000000.mcap")
    assert names == ["start", "gap", "end"]
    assert journal.events[1].detail == {"first": 17, "last": 40}


def test_an_error_leaves_the_episode_unfinished_with_its_reason(tmp_path: Path) -> None:
    camera = Camera()
    recording = session(tmp_path, {"wrist": camera}, float("inf"))
    with pytest.raises(CameraLost), recording:
        run(recording, camera, lost_after=2)

    journal, names = read(tmp_path / "episode_000000.mcap.part")
    assert not journal.is_complete
    assert names == ["start", "failed"]
    assert journal.events[-1].detail == {"error": "camera 'wrist' broke off"}
    assert recording.saved_paths == []


def test_a_camera_that_dies_between_episodes_is_heard_of_at_once(tmp_path: Path) -> None:
    camera = Camera()
    recording = session(tmp_path, {"wrist": camera}, 0.05)
    with pytest.raises(CameraLost), recording:
        run(recording, camera, lost_after=20)  # the first episode is over after 0.05 s

    assert [path.name for path in tmp_path.iterdir()] == ["episode_000000.mcap"]
