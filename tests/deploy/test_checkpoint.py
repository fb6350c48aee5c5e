import json
from pathlib import Path

import pytest

from deploy.checkpoint import JOINT_NAMES, ImageSize, find_checkpoint, read_checkpoint
from robot.errors import ConfigError, UnsupportedSchema


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def set_sidecar(folder: Path, **values: object) -> None:
    change(folder / "so101.json", **values)


def make_dataset(root: Path, names: object = JOINT_NAMES, fps: int = 25) -> Path:
    (root / "meta").mkdir(parents=True)
    features = {"action": {"dtype": "float32", "shape": [6], "names": names}}
    (root / "meta" / "info.json").write_text(
        json.dumps({"codebase_version": "v3.0", "fps": fps, "features": features})
    )
    return root


def test_every_way_of_naming_a_checkpoint_leads_to_the_same_folder(paper_checkpoint: Path) -> None:
    run = paper_checkpoint.parent.parent.parent
    names = (
        run,
        run / "checkpoints",
        run / "checkpoints" / "last",
        run / "checkpoints" / "000003",
        paper_checkpoint,
    )

    assert {find_checkpoint(name) for name in names} == {paper_checkpoint.resolve()}


def test_reads_what_the_rig_must_offer(paper_checkpoint: Path) -> None:
    checkpoint = read_checkpoint(paper_checkpoint)

    assert checkpoint.policy_type == "act"
    assert (checkpoint.chunk_steps, checkpoint.execute_steps) == (16, 8)
    assert checkpoint.step_s == pytest.approx(1 / 30)
    assert checkpoint.cameras == {"wrist": ImageSize(96, 64), "front": ImageSize(96, 64)}
    assert checkpoint.joint_names == JOINT_NAMES
    assert checkpoint.state_min_deg is not None
    assert checkpoint.state_min_deg.tolist() == [-60.0] * 6
    assert len(checkpoint.weights_sha256) == 64


def test_refuses_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no checkpoint at .*nowhere"):
        read_checkpoint(tmp_path / "nowhere")


def test_names_the_steps_of_a_run_without_last(paper_checkpoint: Path) -> None:
    run = paper_checkpoint.parent.parent.parent
    (run / "checkpoints" / "last").unlink()

    with pytest.raises(ConfigError, match="000003"):
        find_checkpoint(run)


def test_refuses_a_folder_that_holds_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a checkpoint"):
        read_checkpoint(tmp_path)


def test_refuses_damaged_json(paper_checkpoint: Path) -> None:
    (paper_checkpoint / "config.json").write_text("{")

    with pytest.raises(ConfigError, match=r"config\.json is damaged"):
        read_checkpoint(paper_checkpoint)


def test_refuses_a_checkpoint_without_processors(paper_checkpoint: Path) -> None:
    (paper_checkpoint / "policy_postprocessor.json").unlink()

    with pytest.raises(ConfigError, match=r"policy_postprocessor\.json is missing"):
        read_checkpoint(paper_checkpoint)


def test_refuses_missing_statistics(paper_checkpoint: Path) -> None:
    for path in paper_checkpoint.glob("policy_preprocessor_step_*.safetensors"):
        path.unlink()

    with pytest.raises(ConfigError, match=r"no statistics of 'observation\.state'"):
        read_checkpoint(paper_checkpoint)


def test_refuses_damaged_statistics(paper_checkpoint: Path) -> None:
    for path in paper_checkpoint.glob("policy_preprocessor_step_*.safetensors"):
        path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00garbage")

    with pytest.raises(ConfigError, match="is damaged"):
        read_checkpoint(paper_checkpoint)


def test_refuses_missing_weights(paper_checkpoint: Path) -> None:
    (paper_checkpoint / "model.safetensors").unlink()

    with pytest.raises(ConfigError, match="cannot read the weights"):
        read_checkpoint(paper_checkpoint)


def test_refuses_two_arms(paper_checkpoint: Path) -> None:
    change(
        paper_checkpoint / "config.json",
        output_features={"action": {"type": "ACTION", "shape": [12]}},
    )

    with pytest.raises(ConfigError, match=r"action has shape \[12\]"):
        read_checkpoint(paper_checkpoint)


def test_refuses_an_input_that_no_arm_has(paper_checkpoint: Path) -> None:
    change(
        paper_checkpoint / "config.json",
        input_features={"observation.environment_state": {"type": "ENV", "shape": [3]}},
    )

    with pytest.raises(ConfigError, match=r"observation\.environment_state"):
        read_checkpoint(paper_checkpoint)


def test_refuses_a_policy_that_wants_several_observations(paper_checkpoint: Path) -> None:
    change(paper_checkpoint / "config.json", n_obs_steps=2)

    with pytest.raises(ConfigError, match="2 observations"):
        read_checkpoint(paper_checkpoint)


def test_refuses_a_newer_sidecar(paper_checkpoint: Path) -> None:
    set_sidecar(paper_checkpoint, schema=99)

    with pytest.raises(UnsupportedSchema, match="schema 99"):
        read_checkpoint(paper_checkpoint)


def test_refuses_a_frame_rate_of_nothing(paper_checkpoint: Path) -> None:
    set_sidecar(paper_checkpoint, fps=0.0)

    with pytest.raises(ConfigError, match="frame rate of 0"):
        read_checkpoint(paper_checkpoint)


def test_refuses_an_unknown_key_in_the_sidecar(paper_checkpoint: Path) -> None:
    set_sidecar(paper_checkpoint, colour="red")

    with pytest.raises(ConfigError, match="colour"):
        read_checkpoint(paper_checkpoint)


def test_finds_frame_rate_and_joints_of_a_stock_lerobot_training(
    paper_checkpoint: Path, tmp_path: Path
) -> None:
    (paper_checkpoint / "so101.json").unlink()
    root = make_dataset(tmp_path / "dataset")
    (paper_checkpoint / "train_config.json").write_text(
        json.dumps({"dataset": {"repo_id": "local/pick", "root": str(root)}})
    )

    checkpoint = read_checkpoint(paper_checkpoint)

    assert checkpoint.fps == 25
    assert checkpoint.joint_names == JOINT_NAMES
    assert checkpoint.dataset == str(root)


def test_never_assumes_a_frame_rate(
    paper_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path / "empty"))
    (paper_checkpoint / "so101.json").unlink()

    with pytest.raises(ConfigError, match="--dataset-root"):
        read_checkpoint(paper_checkpoint)

    assert read_checkpoint(paper_checkpoint, dataset_root=make_dataset(tmp_path / "d")).fps == 25


def test_takes_the_calibration_from_the_recorded_episodes(
    paper_checkpoint: Path, tmp_path: Path
) -> None:
    root = make_dataset(tmp_path / "dataset")
    episodes = root / "so101" / "episodes"
    episodes.mkdir(parents=True)
    for index in range(2):
        content = {"schema": 1, "calibration_sha256": {"follower": "ab12", "leader": "cd34"}}
        (episodes / f"episode_{index:06d}.json").write_text(json.dumps(content))
    set_sidecar(paper_checkpoint, dataset=str(root))

    assert read_checkpoint(paper_checkpoint).calibration_sha256 == "ab12"

    content = {"schema": 1, "calibration_sha256": {"follower": "other"}}
    (episodes / "episode_000002.json").write_text(json.dumps(content))
    assert read_checkpoint(paper_checkpoint).calibration_sha256 == ""
