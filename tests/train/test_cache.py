import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.datasets import LeRobotDataset
from lerobot_policy_so101.images import shrink_images

from robot.errors import ConfigError
from train.cache import KEPT_CACHES, cached_images
from train.dataset import open_dataset

FRONT, WRIST = "observation.images.front", "observation.images.wrist"


def test_every_cached_image_is_what_lerobot_reads_and_the_policy_would_see(
    dataset_root: Path, tmp_path: Path
) -> None:
    reader: Any = LeRobotDataset("local/small", root=dataset_root, video_backend="pyav")

    images = cached_images(open_dataset(dataset_root), tmp_path, 64)

    assert len(reader) == 64
    for row in (0, 1, 29, 30, 47, 63):  # both sides of the episodes' border
        for key in (FRONT, WRIST):
            seen = shrink_images(reader[row][key][None], 64)[0].numpy()
            np.testing.assert_array_equal(images[key][row], seen)


def test_a_system_without_fallocate_gets_the_same_images(
    dataset_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(dataset_root)
    usual = cached_images(dataset, tmp_path / "usual", 64)
    monkeypatch.delattr("os.posix_fallocate")

    written = cached_images(dataset, tmp_path / "written", 64)

    for key in usual:
        np.testing.assert_array_equal(usual[key], written[key])
    for file in tmp_path.glob("written/*/*.npy"):
        assert file.stat().st_blocks * 512 >= file.stat().st_size  # no holes


def test_a_second_training_does_not_decode_again(
    dataset_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(dataset_root)
    first = {key: array.copy() for key, array in cached_images(dataset, tmp_path, 64).items()}
    monkeypatch.setattr("av.open", None)

    second = cached_images(dataset, tmp_path, 64)

    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


def test_progress_counts_every_image(dataset_root: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    cached_images(open_dataset(dataset_root), tmp_path, 64, lambda *state: seen.append(state))

    assert seen[-1] == (128, 128)
    assert seen == sorted(seen)


def test_images_stored_in_the_rows_are_read_too(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_dataset(use_videos=False, cameras=("front",), lengths=(4,))
    reader: Any = LeRobotDataset("local/small", root=root)

    images = cached_images(open_dataset(root), tmp_path / "cache", 64)

    np.testing.assert_array_equal(
        images[FRONT][3], shrink_images(reader[3][FRONT][None], 64)[0].numpy()
    )


def test_a_dataset_without_cameras_has_no_images(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_dataset(cameras=(), lengths=(4,))

    assert cached_images(open_dataset(root), tmp_path / "cache", 64) == {}


def test_a_missing_video_is_named_and_no_partial_cache_is_left(
    dataset_root: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(dataset_root, tmp_path / "damaged")
    shutil.rmtree(root / "videos" / WRIST)

    with pytest.raises(ConfigError, match=r"cannot decode the video .*wrist"):
        cached_images(open_dataset(root), tmp_path / "cache", 64)

    assert list((tmp_path / "cache").iterdir()) == []


def test_a_video_shorter_than_its_rows_is_refused(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    long = make_dataset("long", cameras=("front",), lengths=(20,))
    short = make_dataset("short", cameras=("front",), lengths=(12,))
    shutil.copytree(short / "videos", long / "videos", dirs_exist_ok=True)

    with pytest.raises(ConfigError, match="lacks 8 of 20 frames"):
        cached_images(open_dataset(long), tmp_path / "cache", 64)


def test_only_the_newest_caches_are_kept(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    for number in range(KEPT_CACHES + 1):
        root = make_dataset(
            f"set{number}", cameras=("front",), lengths=(2 + number,), use_videos=False
        )
        cached_images(open_dataset(root), tmp_path / "cache", 64)

    assert len(list((tmp_path / "cache").iterdir())) == KEPT_CACHES


def test_ties_round_the_same_from_bytes_and_from_floats() -> None:
    raw = torch.randint(0, 256, (4, 3, 240, 320), dtype=torch.uint8)
    as_lerobot = raw.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2).float() / 255.0

    torch.testing.assert_close(
        shrink_images(raw, 64), shrink_images(as_lerobot, 64), rtol=0, atol=0
    )
