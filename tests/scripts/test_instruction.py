"""The instruction of a rollout is the one the policy was trained on, or somebody names it."""

import json
from pathlib import Path

import msgspec
import pytest

from deploy.checkpoint import Checkpoint
from record.tables import tasks_parquet
from robot.errors import ConfigError
from robot.joints import JOINTS
from scripts.instruction import choose_instruction


def checkpoint(folder: Path, dataset: Path | None = None) -> Checkpoint:
    return Checkpoint(
        path=folder,
        policy_type="act",
        weights_sha256="",
        chunk_steps=10,
        execute_steps=10,
        fps=30.0,
        joint_names=JOINTS,
        cameras={},
        dataset="" if dataset is None else str(dataset),
        calibration_sha256="",
        state_min_deg=None,
        state_max_deg=None,
    )


def dataset(root: Path, *tasks: str) -> Path:
    (root / "meta").mkdir(parents=True)
    (root / "meta" / "tasks.parquet").write_bytes(tasks_parquet(tasks))
    return root


def test_the_only_task_of_the_training_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "so101_training.json").write_text(json.dumps({"step": 1, "tasks": ["pick"]}))

    assert choose_instruction("", checkpoint(tmp_path), None) == "pick"
    assert choose_instruction("place", checkpoint(tmp_path), None) == "place"


def test_the_datasets_table_stands_in_where_the_checkpoint_says_nothing(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data", "stack")

    assert choose_instruction("", checkpoint(tmp_path, root), None) == "stack"
    assert choose_instruction("", checkpoint(tmp_path), root) == "stack"
    assert choose_instruction("", checkpoint(tmp_path), None) == ""


def test_a_table_of_lerobots_own_writer_is_read(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    (tmp_path / "meta").mkdir()
    table = pandas.DataFrame({"task_index": [0]}, index=["fold"])
    table.to_parquet(tmp_path / "meta" / "tasks.parquet")

    assert choose_instruction("", checkpoint(tmp_path), tmp_path) == "fold"


def test_several_tasks_are_refused_unless_one_is_named(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data", "stack", "pick")
    found = checkpoint(tmp_path, root)

    with pytest.raises(ConfigError, match="2 tasks: name one with --task, of 'pick', 'stack'"):
        choose_instruction("", found, None)
    assert choose_instruction("stack", found, None) == "stack"


def test_damaged_files_are_named(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data", "pick")
    (root / "meta" / "tasks.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"tasks\.parquet cannot be read"):
        choose_instruction(
            "", msgspec.structs.replace(checkpoint(tmp_path), dataset=str(root)), None
        )
