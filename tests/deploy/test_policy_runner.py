"""A stock LeRobot policy through LeRobot's own loader; importing torch makes these slow."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from deploy.checkpoint import read_checkpoint
from deploy.plans import Observation
from robot.errors import ConfigError

if TYPE_CHECKING:
    from deploy.policy_runner import PolicyRunner

pytestmark = pytest.mark.timeout(240)  # the first import of torch on a busy machine


@pytest.fixture(scope="module")
def runner(act_checkpoint: Path) -> "PolicyRunner":
    from deploy.policy_runner import PolicyRunner

    return PolicyRunner.load(read_checkpoint(act_checkpoint))


def observation(images: dict[str, bytes], state_deg: float = 0.0) -> Observation:
    return Observation(1, 0.0, 0.0, np.full(6, state_deg), images)


def test_gives_the_numbers_that_lerobots_own_calls_give(
    runner: "PolicyRunner", act_checkpoint: Path, images: dict[str, bytes]
) -> None:
    import torch
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.factory import make_pre_post_processors

    policy = ACTPolicy.from_pretrained(str(act_checkpoint))
    pre, post = make_pre_post_processors(policy.config, pretrained_path=str(act_checkpoint))
    batch = {"observation.state": torch.full((6,), 12.0)}
    for name, data in images.items():
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert bgr is not None
        rgb = bgr[:, :, ::-1].copy()
        batch[f"observation.images.{name}"] = torch.from_numpy(rgb).permute(2, 0, 1) / 255.0
    expected = post(policy.predict_action_chunk(pre(batch))).squeeze(0).numpy()

    actions_deg = runner.predict(observation(images, 12.0))

    assert actions_deg.shape == (16, 6)
    assert actions_deg == pytest.approx(expected, abs=1e-4)
    assert np.abs(actions_deg - 10.0).max() < 40.0  # unscaled: mean 10, sigma 5
    assert runner.execute_steps == 8
    assert runner.step_s == pytest.approx(1 / 30)


def test_colours_are_red_green_blue(runner: "PolicyRunner", images: dict[str, bytes]) -> None:
    blue_in_bgr = np.zeros((64, 96, 3), np.uint8)
    blue_in_bgr[:, :, 0] = 255
    _, data = cv2.imencode(".jpg", blue_in_bgr)

    red, _, blue = runner._decode("wrist", images | {"wrist": data.tobytes()}).mean(dim=(1, 2))

    assert blue > 0.95
    assert red < 0.05


def test_warm_up_needs_no_camera(runner: "PolicyRunner") -> None:
    assert runner.predict(runner.warm_up_observation()).shape == (16, 6)


def test_a_missing_camera_is_named_with_those_there_are(
    runner: "PolicyRunner", images: dict[str, bytes]
) -> None:
    with pytest.raises(ConfigError, match="needs camera 'wrist', the rig has front"):
        runner.predict(observation({"front": images["front"]}))


def test_another_picture_size_is_named(runner: "PolicyRunner", images: dict[str, bytes]) -> None:
    _, data = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))

    with pytest.raises(ConfigError, match="gives 64x48 pixels, the policy was trained on 96x64"):
        runner.predict(observation(images | {"wrist": data.tobytes()}))


def test_a_broken_picture_is_refused(runner: "PolicyRunner", images: dict[str, bytes]) -> None:
    with pytest.raises(ConfigError, match="not a whole JPEG"):
        runner.predict(observation(images | {"wrist": b"\xff\xd8broken"}))


def test_an_unknown_policy_type_is_refused(act_checkpoint: Path, tmp_path: Path) -> None:
    from deploy.policy_runner import PolicyRunner

    folder = Path(shutil.copytree(act_checkpoint, tmp_path / "pretrained_model"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"type": "telepathy"}))

    with pytest.raises(ConfigError, match="cannot be loaded as a 'telepathy' policy"):
        PolicyRunner.load(read_checkpoint(folder))


def test_weights_that_do_not_fit_are_refused(act_checkpoint: Path, tmp_path: Path) -> None:
    from deploy.policy_runner import PolicyRunner

    folder = Path(shutil.copytree(act_checkpoint, tmp_path / "pretrained_model"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])

    with pytest.raises(ConfigError, match="copied whole"):
        PolicyRunner.load(read_checkpoint(folder))


def test_sampling_is_that_of_the_seed(images: dict[str, bytes], tmp_path: Path) -> None:
    """With this project's own policy, whose samples are drawn."""
    from deploy.policy_runner import PolicyRunner

    runner = PolicyRunner.load(read_checkpoint(save_tiny_flow(tmp_path)))

    drawn = []
    for seed in (5, 5, 6):
        runner.reset(seed)
        drawn.append([runner.predict(observation(images)) for _ in range(2)])

    assert np.array_equal(drawn[0], drawn[1])
    assert not np.allclose(drawn[0][0], drawn[2][0])
    assert not np.allclose(drawn[0][0], drawn[0][1])


def save_tiny_flow(folder: Path) -> Path:
    import torch
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot_policy_so101 import So101FlowConfig
    from lerobot_policy_so101.modeling_so101_flow import So101FlowPolicy
    from lerobot_policy_so101.processor_so101_flow import make_so101_flow_pre_post_processors

    config = So101FlowConfig(
        device="cpu",
        chunk_size=4,
        n_action_steps=2,
        context_sizes=(16,),
        head_sizes=(16,),
        input_features={
            "observation.state": PolicyFeature(FeatureType.STATE, (6,)),
            "observation.images.wrist": PolicyFeature(FeatureType.VISUAL, (3, 64, 96)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (6,))},
    )
    joints = {"mean": torch.zeros(6), "std": torch.full((6,), 20.0)}
    joints |= {"min": torch.full((6,), -60.0), "max": torch.full((6,), 60.0)}
    So101FlowPolicy(config).save_pretrained(folder)
    stats = {"observation.state": joints, "action": joints}
    for processor in make_so101_flow_pre_post_processors(config, stats):
        processor.save_pretrained(folder)
    names = [f"{j}.pos" for j in ("shoulder_pan", "shoulder_lift", "elbow_flex")]
    names += [f"{j}.pos" for j in ("wrist_flex", "wrist_roll", "gripper")]
    (folder / "so101.json").write_text(json.dumps({"schema": 1, "fps": 30.0, "joint_names": names}))
    return folder
