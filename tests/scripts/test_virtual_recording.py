"""What `so101 record` leaves behind, made in virtual time: the same again, and open to LeRobot."""

import json
from pathlib import Path

import msgspec
import pytest
from mcap.reader import make_reader

from record.dataset import export_dataset
from record.journal import list_journals
from record.journal_reader import read_journal
from robot.registers import LOCK, P_COEFFICIENT, RETURN_DELAY_TIME
from scripts.__main__ import main
from scripts.rig_session import open_rig
from scripts.virtual_recording import record_virtually
from sim.tasks.pick_red import TaskStart

PROFILE = """
schema = 1
name = "virtual"
[leader]
port = "twin:leader"
id = "leader"
calibration_dir = "{folder}"
[follower]
port = "twin:follower"
id = "follower"
calibration_dir = "{folder}"
[cameras.wrist]
address = "twin:wrist"
width = 96
height = 72
fps = 30
[twin]
eeprom_file = "{folder}/eeprom.json"
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a profile whose twin is calibrated."""
    folder = tmp_path_factory.mktemp("rig")
    path = folder / "rig.toml"
    path.write_text(PROFILE.format(folder=folder))
    assert main(["calibrate", "--virtual", "--rig", str(path)]) == 0
    return path


def record_one(rig: Path, folder: Path, *, workers: int = 1, episodes: int = 1) -> list[Path]:
    folder.mkdir(parents=True)
    saved, _ = record_virtually(
        rig=rig,
        folder=folder,
        task="pick up the red block",
        episodes=episodes,
        seed=7,
        workers=workers,
        on_saved=lambda: None,
    )
    assert saved == episodes
    return list_journals(folder)


def messages(journal: Path) -> list[tuple[str, int, bytes]]:
    with journal.open("rb") as file:
        return [(c.topic, m.log_time, m.data) for _, c, m in make_reader(file).iter_messages()]


def test_calibrating_leaves_the_follower_as_commands_expect_it(rig: Path) -> None:
    eeprom = rig.with_name("eeprom.json")
    before = eeprom.read_bytes()
    with open_rig(rig, virtual=True, with_cameras=False) as opened:
        assert opened.follower_bus.read(1, RETURN_DELAY_TIME) == 0
        assert opened.follower_bus.read(1, P_COEFFICIENT) == 16
        opened.open_follower()

    assert eeprom.read_bytes() == before


def test_messages_depend_on_the_seed_alone_not_on_workers_or_what_ran_before(
    rig: Path, tmp_path: Path
) -> None:
    """The follower is left by another tool, so that the first who opens it has to configure it."""
    with open_rig(rig, virtual=True, with_cameras=False) as opened:
        opened.follower_bus.write(3, LOCK, 0)
        opened.follower_bus.write_verified(3, P_COEFFICIENT, 32)

    one = record_one(rig, tmp_path / "one", workers=1, episodes=6)
    two = record_one(rig, tmp_path / "two", workers=2, episodes=6)

    assert [path.name for path in one] == [path.name for path in two]
    for first, second in zip(one, two, strict=True):
        assert messages(first) == messages(second), first.name
    assert {topic for topic, _, _ in messages(one[0])} >= {"/joints", "/goal", "/camera/wrist"}


def test_the_header_tells_how_to_set_the_scene_again(rig: Path, tmp_path: Path) -> None:
    (path,) = record_one(rig, tmp_path / "journals")
    header = read_journal(path).header

    assert header.seed is not None
    with open_rig(rig, virtual=True, with_cameras=False) as opened:
        start = opened.require_control("a test").reset(header.seed)
    assert msgspec.json.decode(header.task_start, type=TaskStart) == start
    assert set(header.calibration_sha256) == {"follower", "leader"}


def test_lerobot_opens_what_was_recorded_and_rows_are_frames(rig: Path, tmp_path: Path) -> None:
    from lerobot.datasets import LeRobotDataset

    journals = record_one(rig, tmp_path / "journals", episodes=2)
    result = export_dataset(journals, tmp_path / "dataset", repo_id="local/pick", fps=30, workers=1)

    dataset = LeRobotDataset("local/pick", root=tmp_path / "dataset", video_backend="pyav")

    assert result.gaps == ()
    assert dataset.num_episodes == 2
    assert len(dataset) == result.frames
    for index in (0, len(dataset) - 1):
        item = dataset[index]
        assert isinstance(item, dict)
        assert item["observation.images.wrist"].shape == (3, 72, 96)
        assert item["action"].shape == (6,)


def test_the_dataset_has_the_rate_of_the_profile(rig: Path, tmp_path: Path) -> None:
    slow = rig.with_name("slow.toml")
    slow.write_text("dataset_fps = 15\n" + rig.read_text())
    virtually = ["--demonstrator", "--virtual", "--episodes", "1", "--workers", "1"]

    assert main(["record", "--rig", str(slow), "--output", str(tmp_path / "slow"), *virtually]) == 0

    info = json.loads((tmp_path / "slow" / "dataset" / "meta" / "info.json").read_text())
    assert info["fps"] == 15
