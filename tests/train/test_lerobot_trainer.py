"""LeRobot's own trainer runs this project's policy, and goes on with a run of this project's."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from lerobot.configs.default import DatasetConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.scripts.lerobot_train import train as lerobot_train
from lerobot_policy_so101 import So101FlowConfig

from deploy.checkpoint import read_checkpoint
from train import trainer
from train.presets import Recipe
from train.trainer import train

pytestmark = pytest.mark.filterwarnings("default")  # LeRobot's and accelerate's own


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """LeRobot's trainer installs log handlers and leaves them."""
    monkeypatch.setattr(trainer, "CACHE_ROOT", tmp_path / "cache")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_lerobots_trainer_trains_this_policy(dataset_root: Path, tmp_path: Path) -> None:
    config = TrainPipelineConfig(
        dataset=DatasetConfig("local/small", root=str(dataset_root), video_backend="pyav"),
        policy=So101FlowConfig(device="cpu"),
        output_dir=tmp_path / "out",
        batch_size=4,
        steps=2,
        num_workers=0,
    )

    lerobot_train(config)

    checkpoint = read_checkpoint(tmp_path / "out", dataset_root=dataset_root)
    assert checkpoint.policy_type == "so101_flow"
    assert checkpoint.chunk_steps == 24


def test_lerobots_trainer_goes_on_with_our_run(
    dataset_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(dataset_root, tmp_path / "out", Recipe(steps=2, batch_size=4, threads=1))
    saved = tmp_path / "out" / "checkpoints" / "last" / "pretrained_model"
    monkeypatch.setattr("sys.argv", ["lerobot-train", f"--config_path={saved}/train_config.json"])
    config = TrainPipelineConfig.from_pretrained(saved)
    config.resume, config.steps, config.num_workers = True, 3, 0

    lerobot_train(config)

    checkpoints = tmp_path / "out" / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["000002", "000003", "last"]
