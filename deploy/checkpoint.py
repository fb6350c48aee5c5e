"""What a checkpoint says about itself, read without torch, before anything moves.

A checkpoint is LeRobot's `pretrained_model` folder: config.json, model.safetensors, and the two
processors with their normalisation statistics. What LeRobot leaves out (frame rate, joint names,
calibration) is in the dataset it was trained on: `so101.json` beside the weights when this project
trained it, else the dataset's own meta/info.json, found by train_config.json.
"""

import hashlib
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from deploy.sidecar import find_sidecar, read_json
from robot.errors import ConfigError
from robot.joints import JOINTS, FloatVector

# LeRobot's names of state and action.
JOINT_NAMES: Final = tuple(f"{joint}.pos" for joint in JOINTS)
STATE: Final = "observation.state"
ACTION: Final = "action"
IMAGES: Final = "observation.images."
_PROCESSORS: Final = ("policy_preprocessor.json", "policy_postprocessor.json")


class _Feature(msgspec.Struct):
    type: str
    shape: list[int]


class _PolicyConfig(msgspec.Struct):
    type: str
    input_features: dict[str, _Feature]
    output_features: dict[str, _Feature]
    n_obs_steps: int = 1
    n_action_steps: int = 0
    chunk_size: int = 0
    horizon: int = 0  # the diffusion policies' name of chunk_size


class _Step(msgspec.Struct):
    registry_name: str = ""
    state_file: str = ""


class _Processor(msgspec.Struct):
    steps: list[_Step]


class ImageSize(msgspec.Struct, frozen=True):
    """Pixels of one camera."""

    width: int
    height: int


class Checkpoint(msgspec.Struct, frozen=True):
    """A readable checkpoint, and the rig it expects."""

    path: Path  # the pretrained_model folder
    policy_type: str
    weights_sha256: str
    chunk_steps: int
    execute_steps: int
    fps: float
    joint_names: tuple[str, ...]
    cameras: dict[str, ImageSize]
    dataset: str
    calibration_sha256: str  # empty: the checkpoint does not say
    state_min_deg: FloatVector | None  # of the training data, shape (6,)
    state_max_deg: FloatVector | None

    @property
    def step_s(self) -> float:
        """Seconds between two actions."""
        return 1.0 / self.fps


def find_checkpoint(path: Path) -> Path:
    """Return the `pretrained_model` folder behind a path.

    The path may be that folder, a step, `checkpoints`, or a training's output folder.

    Raises:
        ConfigError: there is none; lists the steps that exist where that helps.
    """
    if not path.exists():
        raise ConfigError(
            f"there is no checkpoint at {path}; name a training's output folder, or one of its "
            "checkpoints/<step>"
        )
    for candidate in (
        path,
        path / "pretrained_model",
        path / "last" / "pretrained_model",
        path / "checkpoints" / "last" / "pretrained_model",
    ):
        if (candidate / "config.json").is_file():
            return candidate.resolve()
    steps = sorted(
        config.parent.parent.name for config in path.glob("**/pretrained_model/config.json")
    )
    found = (
        f"it holds the steps {', '.join(steps)}: name one"
        if steps
        else "no config.json was found in it"
    )
    raise ConfigError(
        f"{path} is not a checkpoint: {found} (a checkpoint is LeRobot's pretrained_model folder)"
    )


def read_checkpoint(path: Path, *, dataset_root: Path | None = None) -> Checkpoint:
    """Read everything about a checkpoint but its weights.

    Args:
        path: see `find_checkpoint`.
        dataset_root: the dataset it was trained on, where the checkpoint itself does not lead
            there.

    Raises:
        ConfigError: not a checkpoint, not for one SO-101, statistics missing, or the frame rate
            cannot be found.
    """
    folder = find_checkpoint(path)
    config = read_json(folder / "config.json", _PolicyConfig)
    chunk_steps = config.chunk_size or config.horizon or config.n_action_steps
    if chunk_steps < 1:
        raise ConfigError(
            f"{folder}: policy type '{config.type}' does not say how many actions it predicts, so "
            "its plans cannot be "
            "timed; use a policy that predicts chunks (so101_flow, act)"
        )
    if config.n_obs_steps != 1:
        raise ConfigError(
            f"{folder}: the policy wants {config.n_obs_steps} observations in a row, only one is "
            "supported; "
            "train it with n_obs_steps=1"
        )
    cameras = _cameras(folder, config)
    for name in _PROCESSORS:
        if not (folder / name).is_file():
            raise ConfigError(
                f"{folder}: {name} is missing, so joints and actions could not be scaled; copy the "
                "whole pretrained_model "
                "folder, or migrate a checkpoint older than LeRobot 0.4"
            )
    statistics = _statistics(folder)
    sidecar = find_sidecar(folder, dataset_root)
    return Checkpoint(
        path=folder,
        policy_type=config.type,
        weights_sha256=_hash_weights(folder),
        chunk_steps=chunk_steps,
        execute_steps=min(config.n_action_steps or chunk_steps, chunk_steps),
        fps=sidecar.fps,
        joint_names=tuple(sidecar.joint_names),
        cameras=cameras,
        dataset=sidecar.dataset,
        calibration_sha256=sidecar.calibration_sha256,
        state_min_deg=statistics.get(f"{STATE}.min"),
        state_max_deg=statistics.get(f"{STATE}.max"),
    )


def _cameras(folder: Path, config: _PolicyConfig) -> dict[str, ImageSize]:
    cameras: dict[str, ImageSize] = {}
    for name, feature in config.input_features.items():
        if name.startswith(IMAGES) and len(feature.shape) == 3:
            cameras[name.removeprefix(IMAGES)] = ImageSize(
                width=feature.shape[2], height=feature.shape[1]
            )
        elif name != STATE:
            raise ConfigError(
                f"{folder}: the policy needs the input '{name}', which an SO-101 does not have; "
                "train it on observation.state and observation.images.* alone"
            )
    for name, features in ((STATE, config.input_features), (ACTION, config.output_features)):
        if name in features and features[name].shape != [len(JOINTS)]:
            raise ConfigError(
                f"{folder}: {name} has shape {features[name].shape} where one SO-101 has "
                f"[{len(JOINTS)}]; "
                "use a policy trained on one arm"
            )
    if ACTION not in config.output_features:
        raise ConfigError(f"{folder}: the policy has no output '{ACTION}'; it cannot drive an arm")
    return cameras


def _statistics(folder: Path) -> dict[str, FloatVector]:
    """Return the normalisation numbers by `feature.statistic`; refuse when there are none."""
    numbers: dict[str, FloatVector] = {}
    for name, step_name, feature in (
        (_PROCESSORS[0], "normalizer_processor", STATE),
        (_PROCESSORS[1], "unnormalizer_processor", ACTION),
    ):
        steps = [
            s for s in read_json(folder / name, _Processor).steps if s.registry_name == step_name
        ]
        found: dict[str, FloatVector] = {}
        for step in steps:
            if step.state_file and (folder / step.state_file).is_file():
                try:
                    found |= {
                        key: np.asarray(v, dtype=np.float64)
                        for key, v in load_file(folder / step.state_file).items()
                    }
                except SafetensorError as error:
                    raise ConfigError(
                        f"{folder / step.state_file} is damaged ({error}); copy the checkpoint "
                        "again"
                    ) from error
        # LeRobot passes a feature through unscaled when its numbers are absent: degrees would be
        # taken for sigmas.
        if steps and not any(key.startswith(f"{feature}.") for key in found):
            raise ConfigError(
                f"{folder}: {name} holds no statistics of '{feature}', so the policy would see "
                "unscaled numbers; "
                "train it again on a dataset with meta/stats.json"
            )
        numbers |= found
    return numbers


def _hash_weights(folder: Path) -> str:
    path = folder / "model.safetensors"
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"cannot read the weights {path}: {error.strerror}; copy the checkpoint again"
        ) from error
