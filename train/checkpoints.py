"""Checkpoints in LeRobot's layout, each either complete or not there.

checkpoints/002000/pretrained_model/  config.json, model.safetensors (averaged weights),
train_config.json,
                                      both processors, so101.json, so101_training.json
checkpoints/002000/training_state/    optimiser, schedule, step, random state; raw and averaged
weights to resume from checkpoints/last -> 002000
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from lerobot.common.train_utils import (
    get_step_checkpoint_dir,
    load_training_state,
    save_checkpoint,
)
from lerobot.configs.default import DatasetConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.processor import PolicyProcessorPipeline
from lerobot_policy_so101 import So101FlowConfig
from lerobot_policy_so101.modeling_so101_flow import So101FlowPolicy
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from robot.errors import ConfigError
from robot.joints import JOINTS
from train.dataset import ACTION, Dataset
from train.presets import Recipe
from train.storage import PARTIAL, StorageGuard, drop_leftovers, point_link, replace_folder

LAST = "last"
SIDECAR = "so101.json"  # what a deployment must know and LeRobot's files leave out
TRAINING = "so101_training.json"  # where the weights came from
SCHEMA = 1
RAW_WEIGHTS = "raw_weights.safetensors"
AVERAGED_WEIGHTS = "averaged_weights.safetensors"
_PACKAGES = ("so101-stack", "lerobot_policy_so101", "lerobot", "torch")


@dataclasses.dataclass(frozen=True)
class Learner:
    """Everything that changes while training."""

    policy: So101FlowPolicy
    optimizer: Optimizer
    scheduler: LRScheduler


class CheckpointWriter:
    """Writes the checkpoints of one run."""

    def __init__(
        self, output_dir: Path, dataset: Dataset, recipe: Recipe, processors: tuple[Any, Any]
    ) -> None:
        self._output_dir = output_dir
        self._dataset = dataset
        self._recipe = recipe
        self._processors: tuple[PolicyProcessorPipeline, PolicyProcessorPipeline] = processors

    def write(self, step: int, learner: Learner) -> Path:
        """Write a checkpoint and let `last` point to it; returns its pretrained_model folder.

        Raises:
            StorageFull: no room; earlier checkpoints are untouched and no partial one is left.
        """
        final = get_step_checkpoint_dir(self._output_dir, self._recipe.steps, step)
        with StorageGuard(final.parent, f"the checkpoint {final}"):
            final.parent.mkdir(parents=True, exist_ok=True)
            drop_leftovers(final.parent)
            partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=final.parent))
            try:
                self._fill(partial, step, learner)
                replace_folder(partial, final)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            point_link(final.parent / LAST, final.name)
        return final / "pretrained_model"

    def _fill(self, folder: Path, step: int, learner: Learner) -> None:
        policy = learner.policy
        with _as_lerobot_builds_it(learner.optimizer):
            save_checkpoint(
                folder,
                step,
                self._train_config(policy.config),
                policy,
                learner.optimizer,
                learner.scheduler,
                *self._processors,
                num_processes=1,
                batch_size=self._recipe.batch_size,
            )
        state = folder / "training_state"
        save_file({k: v.contiguous() for k, v in policy.state_dict().items()}, state / RAW_WEIGHTS)
        save_file(policy.average.state(), state / AVERAGED_WEIGHTS)
        _write_json(folder / "pretrained_model" / SIDECAR, sidecar(self._dataset))
        _write_json(folder / "pretrained_model" / TRAINING, self._provenance(step))

    def _train_config(self, config: So101FlowConfig) -> TrainPipelineConfig:
        """Return the configuration with which LeRobot's own trainer would do the same."""
        recipe = self._recipe
        return TrainPipelineConfig(
            dataset=DatasetConfig(
                repo_id=self._dataset.meta.repo_id,
                root=str(self._dataset.root.resolve()),
                video_backend="pyav",
            ),
            policy=config,
            output_dir=self._output_dir,
            job_name=config.type,
            seed=recipe.seed,
            batch_size=recipe.batch_size,
            steps=recipe.steps,
            save_freq=recipe.checkpoint_every,
            log_freq=recipe.log_every,
            optimizer=config.get_optimizer_preset(),
            scheduler=config.get_scheduler_preset(),
        )

    def _provenance(self, step: int) -> dict[str, Any]:
        versions = {}
        for package in _PACKAGES:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[package] = importlib.metadata.version(package)
        return {
            "schema": SCHEMA,
            "step": step,
            "recipe": dataclasses.asdict(self._recipe),
            "dataset_sha256": self._dataset.sha256,
            "episodes": len(self._dataset.episodes),
            "frames": len(self._dataset.state),
            "tasks": sorted({episode.task for episode in self._dataset.episodes}),
            "versions": versions,
        }


@contextlib.contextmanager
def _as_lerobot_builds_it(optimizer: Optimizer) -> Generator[None]:
    """Hide the fused implementation (which saves 3 ms a step): LeRobot compares option types."""
    fused = [group["fused"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["fused"] = None
    try:
        yield
    finally:
        for group, value in zip(optimizer.param_groups, fused, strict=True):
            group["fused"] = value


def sidecar(dataset: Dataset) -> dict[str, Any]:
    """Return what a deployment needs beside LeRobot's files: time step, joints, calibration."""
    names = dataset.meta.features[ACTION].get("names")
    return {
        "schema": SCHEMA,
        "fps": float(dataset.fps),
        "joint_names": list(names)
        if isinstance(names, list | tuple)
        else [f"{joint}.pos" for joint in JOINTS],
        "dataset": str(dataset.root),
        "calibration_sha256": _follower_calibration(dataset.root),
    }


def _follower_calibration(root: Path) -> str:
    """Return the hash of the follower's calibration if all episodes share one, else ""."""
    found: set[str] = set()
    for path in sorted((root / "so101" / "episodes").glob("episode_*.json")):
        try:
            found.add(str(json.loads(path.read_text())["calibration_sha256"].get("follower", "")))
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ConfigError(f"cannot read {path} ({error}); export the dataset again") from error
    return found.pop() if len(found) == 1 else ""


def last_checkpoint(output_dir: Path) -> Path:
    """Return the checkpoint to resume from.

    Raises:
        ConfigError: there is none.
    """
    last = output_dir / "checkpoints" / LAST
    if not (last / "training_state" / RAW_WEIGHTS).is_file():
        raise ConfigError(
            f"nothing to resume in {output_dir}: no finished checkpoint; start without --resume"
        )
    return last.resolve()


def saved_recipe(checkpoint: Path) -> tuple[Recipe, str]:
    """Return the recipe a checkpoint was trained with, and the content hash of its dataset."""
    path = checkpoint / "pretrained_model" / TRAINING
    try:
        record = json.loads(path.read_text())
        return Recipe(**record["recipe"]), record["dataset_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"cannot resume: {path} is missing or damaged ({error}); start a new run"
        ) from error


def load_learner(checkpoint: Path, learner: Learner) -> int:
    """Put a checkpoint's state into a freshly built learner; returns its step.

    Raises:
        ConfigError: the checkpoint is damaged or was made by another network.
    """
    state = checkpoint / "training_state"
    try:
        learner.policy.load_state_dict(load_file(state / RAW_WEIGHTS), strict=True)
        learner.policy.average.load(load_file(state / AVERAGED_WEIGHTS))
        with _as_lerobot_builds_it(learner.optimizer):
            step, _, _ = load_training_state(checkpoint, learner.optimizer, learner.scheduler)
    except (OSError, RuntimeError, KeyError, ValueError, SafetensorError) as error:
        raise ConfigError(
            f"cannot resume from {checkpoint} ({type(error).__name__}); start a new run, "
            "or delete this checkpoint to resume from an earlier one"
        ) from error
    return step


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def torch_device(name: str) -> torch.device:
    """Return a usable device.

    Raises:
        ConfigError: this machine has no such device.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"this machine has no torch device {name!r}; use --device cpu") from error
    return device
