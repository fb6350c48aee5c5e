"""A checkpoint, loaded and run by LeRobot's own code: one observation in, one chunk out.

The only module of this room that imports torch, lerobot and OpenCV; importing it takes seconds. It
runs in the policy process, or in the evaluation workers of virtual time.
"""

import io
from contextlib import redirect_stdout
from typing import Any

import cv2
import lerobot_policy_so101  # noqa: F401 - registers this project's policies
import numpy as np
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies import get_policy_class, make_pre_post_processors
from lerobot.utils.import_utils import register_third_party_plugins
from safetensors import SafetensorError

from deploy.checkpoint import IMAGES, STATE, Checkpoint
from deploy.plans import Observation, PlanArray, check_actions
from robot.errors import ConfigError


class PolicyRunner:
    """A policy ready to predict, on one thread of torch; for one caller at a time."""

    def __init__(
        self, checkpoint: Checkpoint, policy: Any, processors: tuple[Any, Any], task: str
    ) -> None:
        self._checkpoint = checkpoint
        self._policy = policy
        self._preprocess, self._postprocess = processors
        self._task = task
        self.step_s = checkpoint.step_s
        self.execute_steps = checkpoint.execute_steps

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, task: str = "", device: str = "cpu") -> "PolicyRunner":
        """Load the weights; sets torch and OpenCV to one thread in this process.

        Raises:
            ConfigError: policy type not installed, or weights that do not fit their config.
        """
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        register_third_party_plugins()
        folder = str(checkpoint.path)
        try:
            config = PreTrainedConfig.from_pretrained(folder, local_files_only=True)
            config.device = device
            if hasattr(config, "pretrained_backbone_weights"):
                # LeRobot's ACT would download ImageNet weights only to overwrite them with the
                # checkpoint's
                setattr(config, "pretrained_backbone_weights", None)  # noqa: B010 - of ACT alone
            with redirect_stdout(io.StringIO()):  # LeRobot prints; the terminal is the command's
                policy = get_policy_class(config.type).from_pretrained(
                    folder, config=config, local_files_only=True
                )
            processors = make_pre_post_processors(
                config,
                pretrained_path=folder,
                preprocessor_overrides={"device_processor": {"device": device}},
            )
        except (
            ImportError,
            ValueError,
            KeyError,
            TypeError,
            OSError,
            RuntimeError,
            SafetensorError,
        ) as error:
            raise ConfigError(
                f"{folder} cannot be loaded as a '{checkpoint.policy_type}' policy "
                f"({_first_line(error)}); "
                "install the package of that policy, or check that the checkpoint was copied whole"
            ) from error
        policy.eval()
        return cls(checkpoint, policy, processors, task)

    def reset(self, seed: int) -> None:
        """Start a rollout: the policy forgets the past and samples from this seed."""
        torch.manual_seed(seed)
        own_seed = getattr(self._policy, "seed", None)
        if callable(own_seed):
            own_seed(seed)
        self._policy.reset()
        self._preprocess.reset()
        self._postprocess.reset()

    def warm_up_observation(self) -> Observation:
        """Return an observation of black pictures, for inferences before the first real one."""
        images: dict[str, bytes] = {}
        for name, size in self._checkpoint.cameras.items():
            _, jpeg = cv2.imencode(".jpg", np.zeros((size.height, size.width, 3), dtype=np.uint8))
            images[name] = jpeg.tobytes()
        return Observation(
            generation=0, observation_s=0.0, progress_s=0.0, state_deg=np.zeros(6), images=images
        )

    def predict(self, observation: Observation) -> PlanArray:
        """Return actions of shape (H, 6), degrees and gripper percent.

        Raises:
            ConfigError: a camera is missing or of another size, or the policy's output is no chunk
                of joint goals.
        """
        batch: dict[str, Any] = {STATE: torch.from_numpy(observation.state_deg.astype(np.float32))}
        for name in self._checkpoint.cameras:
            batch[IMAGES + name] = self._decode(name, observation.images)
        batch["task"] = self._task
        with torch.inference_mode():
            chunk = self._policy.predict_action_chunk(self._preprocess(batch))
            actions = self._postprocess(chunk)
        actions_deg: PlanArray = actions.squeeze(0).to("cpu", torch.float64).numpy()
        check_actions(actions_deg)
        return actions_deg

    def _decode(self, name: str, images: dict[str, bytes]) -> torch.Tensor:
        """Return an image as LeRobot gives it to a policy: RGB, float 0..1, (3, H, W)."""
        if name not in images:
            raise ConfigError(
                f"the policy needs camera '{name}', the rig has "
                f"{', '.join(sorted(images)) or 'none'}; "
                "name the rig's cameras as in the dataset"
            )
        pixels = cv2.imdecode(np.frombuffer(images[name], dtype=np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise ConfigError(
                f"camera '{name}' sent a picture that is not a whole JPEG; check its cable"
            )
        wanted = self._checkpoint.cameras[name]
        height, width = pixels.shape[:2]
        if (width, height) != (wanted.width, wanted.height):
            raise ConfigError(
                f"camera '{name}' gives {width}x{height} pixels, the policy was trained on "
                f"{wanted.width}x{wanted.height}; set that size in the rig profile"
            )
        rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        return torch.from_numpy(rgb).permute(2, 0, 1).float() / 255.0


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300] if text else ''}"
