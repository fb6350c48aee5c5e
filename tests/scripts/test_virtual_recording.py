"""What `so101 record` leaves behind, made in virtual time: the same again, and open to LeRobot."""

from pathlib import Path

import pytest
from mcap.reader import make_reader

from record.dataset import export_dataset
from record.journal import list_journals
from scripts.__main__ import main
from scripts.virtual_recording import record_virtually

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


def test_two_runs_from_one_seed_write_the_same_messages(rig: Path, tmp_path: Path) -> None:
    eeprom = rig.with_name("eeprom.json")
    servos = eeprom.read_bytes()
    (first,) = record_one(rig, tmp_path / "a")
    eeprom.write_bytes(servos)  # the first run configured them, as a real arm keeps it
    (second,) = record_one(rig, tmp_path / "b")

    assert messages(first) == messages(second)
    assert {topic for topic, _, _ in messages(first)} >= {"/joints", "/goal", "/camera/wrist"}


def test_lerobot_opens_what_was_recorded_and_rows_are_frames(rig: Path, tmp_path: Path) -> None:
    from lerobot.datasets import LeRobotDataset

    journals = record_one(rig, tmp_path / "journals", episodes=2)
    result = export_dataset(journals, tmp_path / "dataset", repo_id="local/pick", fps=30, workers=1)

    dataset = LeRobotDataset("local/pick", root=tmp_path / "dataset", video_backend="pyav")

    assert dataset.num_episodes == 2
    assert len(dataset) == result.frames
    for index in (0, len(dataset) - 1):
        item = dataset[index]
        assert item["observation.images.wrist"].shape == (3, 72, 96)
        assert item["action"].shape == (6,)
