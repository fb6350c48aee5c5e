"""The `so101_flow` policy: small images and joints in, a chunk of joint goals out.

Written so that LeRobot's trainer gives the same recipe as this project's own: the random changes of
images and joints happen in `forward`, and the averaged weights are kept by `update`, which LeRobot
calls after each step.
"""

from collections import deque
from pathlib import Path
from typing import Any

import torch
from lerobot.policies import PreTrainedPolicy
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Generator, Tensor

from lerobot_policy_so101.average import WeightAverage
from lerobot_policy_so101.configuration_so101_flow import So101FlowConfig
from lerobot_policy_so101.heads import FlowHead, RegressionHead
from lerobot_policy_so101.images import jitter_images, shift_images, shrink_images
from lerobot_policy_so101.networks import ContextEncoder


class So101FlowPolicy(PreTrainedPolicy):
    """Image policy for one arm; observations and actions pass LeRobot's processors outside of it.

    Not thread-safe: one caller at a time.
    """

    # LeRobot declares both as None and means a class and a name.
    config_class = So101FlowConfig  # pyright: ignore[reportAssignmentType]
    name = "so101_flow"  # pyright: ignore[reportAssignmentType]

    def __init__(self, config: So101FlowConfig, *args: Any, **kwargs: Any) -> None:
        # LeRobot passes dataset_stats and dataset_meta, which only the processors need.
        super().__init__(config)
        config.validate_features()
        self.config: So101FlowConfig = config
        self.context = ContextEncoder(config)
        self.head = FlowHead(config) if config.head == "flow" else RegressionHead(config)
        self._average: WeightAverage | None = None
        self._generator: Generator | None = None
        self._queue: deque[Tensor] = deque()

    def seed(self, seed: int) -> None:
        """Draw all that is random, in sampling and training, from an own generator."""
        if self._generator is None:
            self._generator = Generator()
        self._generator.manual_seed(seed)

    def reset(self) -> None:
        """Forget the chunk under way; call at the start of an episode."""
        self._queue.clear()

    def get_optim_params(self) -> Any:
        """Return all parameters: one group."""
        return self.parameters()

    def update(self) -> None:
        """Let the averaged weights follow; call after each optimiser step."""
        self.average.update()

    @property
    def average(self) -> WeightAverage:
        """The averaged weights; begins at the present ones when first asked for."""
        if self._average is None:
            self._average = WeightAverage(self, self.config.average_rate)
        return self._average

    def forward(
        self, batch: dict[str, Tensor], reduction: str = "mean"
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch of standardised chunks.

        Args:
            batch: observations, `action` (B, chunk, joints), perhaps `action_is_pad` (B, chunk).
            reduction: "mean", or "none" for one loss a sample.
        """
        actions = batch[ACTION]
        errors = self.head.errors(self._encode(batch), actions, self._generator)
        padding = batch.get("action_is_pad")
        if self.config.mask_padding and padding is not None:
            kept = (~padding).unsqueeze(-1).to(errors.dtype)
            losses = (errors * kept).sum(dim=(1, 2)) / (kept.sum(dim=(1, 2)) * actions.shape[-1])
        else:
            losses = errors.mean(dim=(1, 2))
        loss = losses.mean()
        return (losses if reduction == "none" else loss), {"squared_error": loss.item()}

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Tensor], **kwargs: Tensor | None) -> Tensor:
        """Sample standardised chunks (B, chunk, joints), from `noise` of that shape if given."""
        self.eval()
        context = self._encode(batch)
        noise = kwargs.get("noise")
        if noise is None:
            shape = (len(context), self.config.chunk_size, self.config.action_size)
            noise = torch.randn(shape, generator=self._generator).to(context.device)
        return self.head.sample(context, noise)

    @torch.no_grad()
    def select_action(self, batch: dict[str, Tensor], **kwargs: Tensor | None) -> Tensor:
        """Return the next standardised action (B, joints); predicts when none is left."""
        if not self._queue:
            chunk = self.predict_action_chunk(batch, **kwargs)
            self._queue.extend(chunk[:, : self.config.n_action_steps].unbind(dim=1))
        return self._queue.popleft()

    def _encode(self, batch: dict[str, Tensor]) -> Tensor:
        state = batch[OBS_STATE]
        images = [self._prepare(batch[key]) for key in self.config.camera_keys]
        if self.training and self.config.state_noise_std > 0:
            noise = torch.randn(state.shape, generator=self._generator).to(state.device)
            state = state + noise * self.config.state_noise_std
        return self.context(state, images)

    def _prepare(self, images: Tensor) -> Tensor:
        small = shrink_images(images, self.config.image_size_px)
        if self.training:
            small = shift_images(small, self.config.max_shift_px, self._generator)
        scaled = small.to(torch.float32).mul_(1.0 / 255.0).sub_(0.5)
        if not self.training:
            return scaled
        return jitter_images(
            scaled,
            brightness=self.config.brightness_jitter,
            contrast=self.config.contrast_jitter,
            generator=self._generator,
        )

    def _save_pretrained(
        self, save_directory: Path, state_dict: dict[str, Tensor] | None = None
    ) -> None:
        """Save the averaged weights where there are any: they are the ones to run."""
        if state_dict is not None or self._average is None:
            super()._save_pretrained(save_directory, state_dict)
            return
        with self._average.applied():
            super()._save_pretrained(save_directory)
