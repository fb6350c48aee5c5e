import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robot.errors import ConfigError
from train.dataset import open_dataset


def test_reads_rows_and_episodes_as_written(dataset_root: Path) -> None:
    dataset = open_dataset(dataset_root)

    assert [(e.start, e.stop, e.task) for e in dataset.episodes] == [
        (0, 30, "push the square"),
        (30, 64, "push the square"),
    ]
    assert dataset.cameras == ("observation.images.front", "observation.images.wrist")
    assert dataset.fps == 30
    np.testing.assert_array_equal(dataset.action[33], [3, 6, -3, 10, 0, 50])
    np.testing.assert_array_equal(dataset.state[33], [2, 4, -2, 10, 0, 50])


def test_the_hash_follows_the_content_not_the_place(dataset_root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(dataset_root, tmp_path / "copy")
    before = open_dataset(copy).sha256
    video = next((copy / "videos").rglob("*.mp4"))
    video.write_bytes(video.read_bytes() + b"\0")

    assert before == open_dataset(dataset_root).sha256
    assert open_dataset(copy).sha256 != before


def test_a_missing_dataset_is_named_and_nothing_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no dataset at .*nowhere.*so101 record"):
        open_dataset(tmp_path / "nowhere")

    assert not (tmp_path / "nowhere").exists()


def _break_info(root: Path) -> None:
    (root / "meta" / "info.json").write_text("{ not json")


def _old_format(root: Path) -> None:
    info = json.loads((root / "meta" / "info.json").read_text())
    (root / "meta" / "info.json").write_text(json.dumps({**info, "codebase_version": "v2.1"}))


def _newer_format(root: Path) -> None:
    info = json.loads((root / "meta" / "info.json").read_text())
    (root / "meta" / "info.json").write_text(json.dumps({**info, "codebase_version": "v4.0"}))


def _no_episode(root: Path) -> None:
    info = json.loads((root / "meta" / "info.json").read_text())
    (root / "meta" / "info.json").write_text(json.dumps({**info, "total_episodes": 0}))


def _no_rows(root: Path) -> None:
    shutil.rmtree(root / "data")


def _no_episode_table(root: Path) -> None:
    shutil.rmtree(root / "meta" / "episodes")


def _truncated_rows(root: Path) -> None:
    parquet = next((root / "data").rglob("*.parquet"))
    parquet.write_bytes(parquet.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_break_info, "cannot read"),
        (_old_format, "v2.1"),
        (_newer_format, "v4.0"),
        (_no_episode, "no finished episode"),
        (_no_rows, "damaged"),
        (_no_episode_table, "damaged|no dataset"),
        (_truncated_rows, "damaged"),
    ],
)
def test_a_damaged_dataset_ends_in_one_sentence(
    dataset_root: Path, tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    root = shutil.copytree(dataset_root, tmp_path / "damaged")
    damage(root)

    with pytest.raises(ConfigError, match=sentence) as raised:
        open_dataset(root)

    assert "\n" not in str(raised.value)
