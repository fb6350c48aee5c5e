"""Two tiny checkpoints.

`act_checkpoint`: a stock LeRobot ACT with random weights, saved by LeRobot's own calls; making it
imports torch (seconds), so only tests that run a policy ask for it. `paper_checkpoint`: the same
files without a network, for tests that only read.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.numpy import save_file

from deploy.checkpoint import JOINT_NAMES

CAMERAS = ("front", "wrist")
WIDTH, HEIGHT = 96, 64
CHUNK_STEPS = 16
EXECUTE_STEPS = 8


@pytest.fixture(scope="session")
def act_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `pretrained_model` folder with random weights, and this project's sidecar."""
    import torch
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.act.processor_act import make_act_pre_post_processors

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run") / "checkpoints" / "000003" / "pretrained_model"
    images = {
        f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, HEIGHT, WIDTH))
        for name in CAMERAS
    }
    config = ACTConfig(
        chunk_size=CHUNK_STEPS,
        n_action_steps=EXECUTE_STEPS,
        pretrained_backbone_weights=None,
        device="cpu",
        dim_model=32,
        n_heads=2,
        dim_feedforward=32,
        n_encoder_layers=1,
        n_vae_encoder_layers=1,
        latent_dim=8,
        input_features={"observation.state": PolicyFeature(FeatureType.STATE, (6,)), **images},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (6,))},
    )
    joints = {"mean": 10.0, "std": 5.0, "min": -60.0, "max": 60.0}
    stats = {
        feature: {name: torch.full((6,), value) for name, value in joints.items()}
        for feature in ("observation.state", "action")
    }
    pixels = {"mean": 0.5, "std": 0.25, "min": 0.0, "max": 1.0}
    for feature in images:
        stats[feature] = {name: torch.full((3, 1, 1), value) for name, value in pixels.items()}
    ACTPolicy(config).save_pretrained(folder)
    for processor in make_act_pre_post_processors(config, stats):
        processor.save_pretrained(folder)
    write_sidecar(folder)
    (folder.parent.parent / "last").symlink_to("000003")
    return folder


@pytest.fixture
def paper_checkpoint(tmp_path: Path) -> Path:
    """A `pretrained_model` folder that reads like the ACT one, for a test to damage."""
    folder = tmp_path / "run" / "checkpoints" / "000003" / "pretrained_model"
    folder.mkdir(parents=True)
    (folder.parent.parent / "last").symlink_to("000003")
    image = {"type": "VISUAL", "shape": [3, HEIGHT, WIDTH]}
    joints = {"type": "STATE", "shape": [6]}
    config = {
        "type": "act",
        "n_obs_steps": 1,
        "chunk_size": CHUNK_STEPS,
        "n_action_steps": EXECUTE_STEPS,
        "input_features": {"observation.state": joints}
        | {f"observation.images.{name}": image for name in CAMERAS},
        "output_features": {"action": {"type": "ACTION", "shape": [6]}},
    }
    (folder / "config.json").write_text(json.dumps(config))
    bounds = {"min": np.full(6, -60.0, np.float32), "max": np.full(6, 60.0, np.float32)}
    numbers = {
        f"{feature}.{name}": value
        for feature in ("observation.state", "action")
        for name, value in bounds.items()
    }
    for processor, step in (("pre", "normalizer_processor"), ("post", "unnormalizer_processor")):
        state_file = f"policy_{processor}processor_step_0_{step}.safetensors"
        content = {"name": processor, "steps": [{"registry_name": step, "state_file": state_file}]}
        (folder / f"policy_{processor}processor.json").write_text(json.dumps(content))
        save_file(numbers, folder / state_file)
    save_file({"weight": np.zeros(1, np.float32)}, folder / "model.safetensors")
    write_sidecar(folder)
    return folder


def write_sidecar(folder: Path, **changes: object) -> None:
    content = {
        "schema": 1,
        "fps": 30.0,
        "joint_names": list(JOINT_NAMES),
        "dataset": "",
        "calibration_sha256": "",
    }
    (folder / "so101.json").write_text(json.dumps(content | changes))


@pytest.fixture
def images() -> dict[str, bytes]:
    """One grey picture of each camera of the tiny checkpoints."""
    _, data = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8))
    return dict.fromkeys(CAMERAS, data.tobytes())
