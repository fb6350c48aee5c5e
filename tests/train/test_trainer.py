import dataclasses
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.policies import (
    get_policy_class,
    make_pre_post_processors,
    prepare_observation_for_inference,
)
from lerobot.utils.import_utils import register_third_party_plugins
from safetensors.torch import load_file

from robot.errors import ConfigError, StorageFull
from train import trainer
from train.log import TrainProgress, read_log
from train.presets import Recipe
from train.trainer import TrainListeners, TrainResult, train

TINY = Recipe(steps=4, batch_size=4, seed=1, checkpoint_every=2, log_every=1, threads=1)


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "CACHE_ROOT", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def run(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(dataset_root, tmp_path_factory.mktemp("run") / "out", TINY)


def output_of(run: TrainResult) -> Path:
    return run.checkpoint.parents[2]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same_weights(first: Path, second: Path) -> None:
    one, two = weights_of(first), weights_of(second)
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=0)


def test_checkpoints_have_lerobots_layout(run: TrainResult) -> None:
    checkpoints = output_of(run) / "checkpoints"

    assert run.is_finished
    assert sorted(path.name for path in checkpoints.iterdir()) == ["000002", "000004", "last"]
    assert os.readlink(checkpoints / "last") == "000004"
    assert {path.name for path in run.checkpoint.iterdir()} == {
        "config.json",
        "model.safetensors",
        "train_config.json",
        "policy_preprocessor.json",
        "policy_preprocessor_step_3_normalizer_processor.safetensors",
        "policy_postprocessor.json",
        "policy_postprocessor_step_0_unnormalizer_processor.safetensors",
        "so101.json",
        "so101_training.json",
    }
    assert (run.checkpoint.parent / "training_state" / "optimizer_state.safetensors").is_file()


def test_lerobots_loader_opens_a_checkpoint_and_acts_in_degrees(run: TrainResult) -> None:
    register_third_party_plugins()
    config = PreTrainedConfig.from_pretrained(run.checkpoint)
    policy = get_policy_class(config.type).from_pretrained(
        run.checkpoint, config=config, strict=True
    )
    before, after = make_pre_post_processors(config, pretrained_path=str(run.checkpoint))
    observation = {
        "observation.state": np.zeros(6, dtype=np.float32),
        "observation.images.front": np.zeros((64, 80, 3), dtype=np.uint8),
        "observation.images.wrist": np.zeros((64, 80, 3), dtype=np.uint8),
    }

    action = after(
        policy.select_action(
            before(prepare_observation_for_inference(observation, torch.device("cpu"), task="x"))
        )
    )

    assert action.shape == (1, 6)
    assert 40 < action[0, 5] < 60  # the gripper's only value in the data is 50 %


def test_lerobots_trainer_configuration_is_read_back(run: TrainResult) -> None:
    register_third_party_plugins()

    config = TrainPipelineConfig.from_pretrained(run.checkpoint)

    assert config.policy is not None
    assert config.policy.type == "so101_flow"
    assert (config.steps, config.batch_size, config.seed) == (4, 4, 1)


def test_the_sidecar_says_what_a_deployment_needs(run: TrainResult, dataset_root: Path) -> None:
    sidecar = json.loads((run.checkpoint / "so101.json").read_text())

    assert sidecar["schema"] == 1
    assert sidecar["fps"] == 30.0
    assert sidecar["joint_names"][5] == "gripper.pos"
    assert sidecar["dataset"] == str(dataset_root)
    assert sidecar["calibration_sha256"] == ""


def test_the_sidecar_carries_the_calibration_all_episodes_share(
    dataset_root: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(dataset_root, tmp_path / "recorded")
    (root / "so101" / "episodes").mkdir(parents=True)
    for index, sha256 in enumerate(("abc", "abc")):
        (root / "so101" / "episodes" / f"episode_{index:06d}.json").write_text(
            json.dumps({"calibration_sha256": {"follower": sha256, "leader": "l"}})
        )

    result = train(root, tmp_path / "out", dataclasses.replace(TINY, steps=1))

    assert json.loads((result.checkpoint / "so101.json").read_text())["calibration_sha256"] == "abc"


def test_the_curve_has_a_line_for_each_interval(run: TrainResult) -> None:
    curve = read_log(output_of(run))

    assert [line.step for line in curve] == [1, 2, 3, 4]
    assert all(np.isfinite(line.loss) and line.loss > 0 for line in curve)
    assert curve[-1].learning_rate < curve[1].learning_rate


def test_the_checkpoint_holds_the_averaged_weights(run: TrainResult) -> None:
    state = run.checkpoint.parent / "training_state"
    saved = weights_of(run.checkpoint)
    averaged = load_file(state / "averaged_weights.safetensors")
    raw = load_file(state / "raw_weights.safetensors")

    name = "context.mix.0.weight"
    torch.testing.assert_close(saved[name], averaged[name], rtol=0, atol=0)
    assert not torch.equal(saved[name], raw[name])


def test_the_same_seed_gives_the_same_weights(
    run: TrainResult, dataset_root: Path, tmp_path: Path
) -> None:
    torch.rand(7)  # whatever was drawn before must not matter

    again = train(dataset_root, tmp_path / "again", TINY)

    assert_same_weights(again.checkpoint, run.checkpoint)


def test_another_seed_gives_other_weights(
    run: TrainResult, dataset_root: Path, tmp_path: Path
) -> None:
    other = train(dataset_root, tmp_path / "other", dataclasses.replace(TINY, seed=2, steps=1))

    name = "context.mix.0.weight"
    assert not torch.equal(weights_of(other.checkpoint)[name], weights_of(run.checkpoint)[name])


def test_a_stopped_run_resumes_to_the_same_weights(
    run: TrainResult, dataset_root: Path, tmp_path: Path
) -> None:
    stopping = TrainListeners(should_stop=lambda: True)
    stopped = train(dataset_root, tmp_path / "out", TINY, listeners=stopping)
    resumed = train(dataset_root, tmp_path / "out", Recipe(threads=1), resume=True)

    assert (stopped.step, stopped.is_finished) == (1, False)
    assert (resumed.step, resumed.is_finished) == (4, True)
    assert_same_weights(resumed.checkpoint, run.checkpoint)
    assert [line.step for line in read_log(tmp_path / "out")] == [1, 2, 3, 4]


def test_resuming_a_finished_run_keeps_it(
    run: TrainResult, dataset_root: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(output_of(run), tmp_path / "out", symlinks=True)

    resumed = train(dataset_root, out, TINY, resume=True)

    assert resumed.is_finished
    assert len(read_log(out)) == 4
    assert_same_weights(resumed.checkpoint, run.checkpoint)


def test_resuming_with_another_dataset_is_refused(
    run: TrainResult, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    out = shutil.copytree(output_of(run), tmp_path / "out", symlinks=True)

    with pytest.raises(ConfigError, match="is not the dataset of"):
        train(make_dataset(cameras=(), lengths=(60,)), out, TINY, resume=True)


def test_resuming_from_a_damaged_checkpoint_is_refused(
    run: TrainResult, dataset_root: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(output_of(run), tmp_path / "out", symlinks=True)
    raw = out / "checkpoints" / "last" / "training_state" / "raw_weights.safetensors"
    raw.write_bytes(raw.read_bytes()[:1000])

    with pytest.raises(ConfigError, match="cannot resume from"):
        train(dataset_root, out, TINY, resume=True)


def test_nothing_to_resume_is_said(dataset_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to resume"):
        train(dataset_root, tmp_path / "out", TINY, resume=True)


def test_an_output_in_use_is_not_overwritten(run: TrainResult, dataset_root: Path) -> None:
    with pytest.raises(ConfigError, match="already holds checkpoints"):
        train(dataset_root, output_of(run), TINY)


def test_too_few_frames_are_refused(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 20 frames, fewer than two chunks of 24"):
        train(make_dataset(cameras=(), lengths=(20,)), tmp_path / "out", TINY)

    assert not (tmp_path / "out").exists()


def test_a_device_that_is_not_there_is_named(dataset_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no torch device 'nonsense'"):
        train(dataset_root, tmp_path / "out", dataclasses.replace(TINY, device="nonsense"))


def test_held_out_episodes_are_measured_with_each_checkpoint(
    dataset_root: Path, tmp_path: Path
) -> None:
    train(dataset_root, tmp_path / "out", dataclasses.replace(TINY, validation_episodes=1))

    curve = read_log(tmp_path / "out")
    assert [line.validation_loss is not None for line in curve] == [False, True, False, True]


def test_joints_alone_can_be_learnt(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    root = make_dataset(cameras=(), lengths=(60, 60))
    recipe = Recipe(steps=60, batch_size=16, log_every=10, threads=1, head="mse")

    train(root, tmp_path / "out", recipe)

    curve = read_log(tmp_path / "out")
    assert curve[-1].loss < 0.3 * curve[0].loss


def test_a_full_disk_keeps_the_finished_checkpoint(dataset_root: Path, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(progress: TrainProgress) -> None:
        """From step 3 on the kernel refuses files of more than a megabyte, in the middle."""
        if progress.step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))

    try:
        with pytest.raises(StorageFull, match=r"cannot write the checkpoint .*000004.*--resume"):
            train(dataset_root, tmp_path, TINY, listeners=TrainListeners(on_step=fill_the_disk))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    checkpoints = tmp_path / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["000002", "last"]
    resumed = train(dataset_root, tmp_path, TINY, resume=True)
    assert resumed.is_finished


def test_a_log_that_cannot_grow_is_a_full_disk(
    run: TrainResult, dataset_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "train_log.jsonl").symlink_to("/dev/full")

    with pytest.raises(StorageFull, match="training log"):
        train(dataset_root, out, TINY)

    assert not (out / "checkpoints").exists()
