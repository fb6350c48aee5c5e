"""Small datasets written by LeRobot itself, shared by the tests of this room."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lerobot.configs.video import RGBEncoderConfig
from lerobot.datasets import LeRobotDataset
from numpy.typing import NDArray

JOINT_NAMES = [
    f"{joint}.pos"
    for joint in (
        "shoulder_pan",
        "shoulder_lift",
        "elbow_flex",
        "wrist_flex",
        "wrist_roll",
        "gripper",
    )
]
WIDTH, HEIGHT = 80, 64
LENGTHS = (30, 34)
FPS = 30

MakeDataset = Callable[..., Path]


def write_dataset(
    root: Path,
    *,
    cameras: tuple[str, ...] = ("front", "wrist"),
    lengths: tuple[int, ...] = LENGTHS,
    use_videos: bool = True,
) -> Path:
    """Write episodes in which a square drifts right and the goals run ahead of the joints."""
    vector = {"dtype": "float32", "shape": (6,), "names": JOINT_NAMES}
    features = {"observation.state": vector, "action": dict(vector)}
    for camera in cameras:
        features[f"observation.images.{camera}"] = {
            "dtype": "video" if use_videos else "image",
            "shape": (HEIGHT, WIDTH, 3),
            "names": ["height", "width", "channels"],
        }
    dataset = LeRobotDataset.create(
        "local/small",
        fps=FPS,
        features=features,
        root=root,
        robot_type="so_follower",
        use_videos=use_videos,
        rgb_encoder=RGBEncoderConfig(vcodec="h264", crf=10, preset="ultrafast"),
    )
    for episode, length in enumerate(lengths):
        for index in range(length):
            frame = {"task": "push the square", **_row(episode, index)}
            for number, camera in enumerate(cameras):
                frame[f"observation.images.{camera}"] = picture(episode, index, number)
            dataset.add_frame(frame)
        dataset.save_episode()
    dataset.finalize()
    return root


def _row(episode: int, index: int) -> dict[str, NDArray[np.float32]]:
    action = np.array([index, 2 * index, -index, 10 * episode, 0, 50], dtype=np.float32)
    state = action - np.array([1, 2, -1, 0, 0, 0], dtype=np.float32)
    return {"observation.state": state, "action": action}


def picture(episode: int, index: int, camera: int) -> NDArray[np.uint8]:
    image = np.full((HEIGHT, WIDTH, 3), 40 + 60 * camera, dtype=np.uint8)
    image[16 + 16 * episode : 32 + 16 * episode, index : index + 16] = (230, 60, 20)
    return image


@pytest.fixture(scope="session")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes of two cameras; never changed by a test."""
    return write_dataset(tmp_path_factory.mktemp("dataset") / "small")


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Write a dataset of the test's own."""
    return lambda name="own", **options: write_dataset(tmp_path / name, **options)
