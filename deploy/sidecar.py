"""What LeRobot's checkpoints leave out: frame rate, joint names, calibration.

`so101.json` lies beside the weights when this project trained them, and in the `meta` folder of its
datasets; for any other checkpoint the dataset is looked up by train_config.json. The frame rate is
never assumed.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from robot.errors import ConfigError, UnsupportedSchema

SIDECAR: Final = "so101.json"
SIDECAR_SCHEMA: Final = 1


class _DatasetOfTrainConfig(msgspec.Struct):
    repo_id: str = ""
    root: str | None = None


class _TrainConfig(msgspec.Struct):
    dataset: _DatasetOfTrainConfig | None = None


class _ActionFeature(msgspec.Struct):
    names: list[str] | dict[str, list[str]] | None = None


class _Features(msgspec.Struct):
    action: _ActionFeature | None = None


class _DatasetInfo(msgspec.Struct):
    fps: float
    features: _Features


class _RecordedEpisode(msgspec.Struct):
    calibration_sha256: dict[str, str] = {}  # by arm


class Sidecar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What LeRobot's files leave out; beside the weights, or in a dataset's `meta/so101.json`."""

    schema: int
    fps: float
    joint_names: list[str]
    dataset: str = ""
    calibration_sha256: str = ""  # of the follower; empty: not known


def find_sidecar(folder: Path, dataset_root: Path | None) -> Sidecar:
    """Return what is known beside a checkpoint, or of its dataset.

    Raises:
        ConfigError: the frame rate is nowhere to be found, or a file is damaged.
    """
    sidecar: Sidecar | None = None
    roots = _dataset_roots(folder) if dataset_root is None else [dataset_root]
    if (folder / SIDECAR).is_file():
        sidecar = _read_sidecar(folder / SIDECAR)
        roots = [*roots, *([Path(sidecar.dataset)] if sidecar.dataset else [])]
    known = [root for root in roots if (root / "meta" / "info.json").is_file()]
    if sidecar is None and known:
        sidecar = _sidecar_of_dataset(known[0])
    if sidecar is None:
        raise ConfigError(
            f"{folder} does not say at which frame rate its dataset was recorded, and the dataset "
            "was not found; name the dataset's folder with --dataset-root"
        )
    if not sidecar.fps > 0:
        raise ConfigError(f"{folder}: a frame rate of {sidecar.fps:g} cannot be; train it again")
    if not sidecar.calibration_sha256 and known:
        sidecar = msgspec.structs.replace(
            sidecar, calibration_sha256=_recorded_calibration(known[0])
        )
    return sidecar


def _sidecar_of_dataset(root: Path) -> Sidecar:
    if (root / "meta" / SIDECAR).is_file():
        return _read_sidecar(root / "meta" / SIDECAR)
    info = read_json(root / "meta" / "info.json", _DatasetInfo)
    names = None if info.features.action is None else info.features.action.names
    if isinstance(names, dict):  # LeRobot 2.x: {"motors": [...]}
        names = next(iter(names.values()), None)
    return Sidecar(schema=SIDECAR_SCHEMA, fps=info.fps, joint_names=names or [], dataset=str(root))


def _recorded_calibration(root: Path) -> str:
    """Return the follower's calibration behind all recorded episodes; empty: unknown or several."""
    episodes = sorted((root / "so101" / "episodes").glob("*.json"))
    hashes = {
        read_json(path, _RecordedEpisode).calibration_sha256.get("follower", "")
        for path in episodes
    }
    return hashes.pop() if len(hashes) == 1 else ""


def _dataset_roots(folder: Path) -> list[Path]:
    """Where train_config.json says the dataset is, LeRobot's default place included."""
    path = folder / "train_config.json"
    dataset = read_json(path, _TrainConfig).dataset if path.is_file() else None
    if dataset is None:
        return []
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    lerobot_home = Path(os.environ.get("HF_LEROBOT_HOME", home / "lerobot")).expanduser()
    roots = [Path(dataset.root)] if dataset.root else []
    return [*roots, *([lerobot_home / dataset.repo_id] if dataset.repo_id else [])]


def _read_sidecar(path: Path) -> Sidecar:
    schema = read_json(path, _SchemaOnly).schema
    if schema > SIDECAR_SCHEMA:
        raise UnsupportedSchema(
            f"{path} has schema {schema}, this version reads up to {SIDECAR_SCHEMA}; update so101"
        )
    return read_json(path, Sidecar)


class _SchemaOnly(msgspec.Struct):
    schema: int


def read_json[T](path: Path, kind: type[T]) -> T:
    """Read a JSON file of a checkpoint or dataset; raises ConfigError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; check the path and its permissions"
        ) from error
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{path} is damaged or of another kind: {error}; copy the checkpoint again"
        ) from error
