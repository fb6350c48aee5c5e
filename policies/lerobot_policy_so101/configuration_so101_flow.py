"""Settings of the `so101_flow` policy, as LeRobot stores them in a checkpoint's config.json.

The figures are the recipe of the feasibility study (docs/provenance.md): two 64x64 cameras and six
joints, chunks of 0.8 s of which half is executed, 1.1 million parameters.
"""

from dataclasses import dataclass, field

from lerobot.configs import FeatureType, NormalizationMode, PreTrainedConfig
from lerobot.optim import AdamWConfig
from lerobot.optim.schedulers import CosineAnnealingWithWarmupSchedulerConfig

HEADS = ("flow", "mse")


@PreTrainedConfig.register_subclass("so101_flow")
@dataclass
class So101FlowConfig(PreTrainedConfig):
    """Everything needed to build the network again; lengths in dataset frames or pixels."""

    # Action chunk, in frames of the dataset: 24 frames are 0.8 s at 30 fps; half of it is executed
    # before the next one.
    chunk_size: int = 24
    n_action_steps: int = 12

    # "flow" captures the distribution of the demonstrations, "mse" averages it (the comparison).
    head: str = "flow"
    integration_steps: int = 10

    image_size_px: int = 64
    conv_channels: tuple[int, ...] = (16, 32, 32, 32)
    conv_kernels: tuple[int, ...] = (5, 3, 3, 3)
    conv_strides: tuple[int, ...] = (2, 2, 2, 1)
    norm_groups: int = 8
    keypoints: int = 32
    context_sizes: tuple[int, ...] = (384, 384)
    head_sizes: tuple[int, ...] = (768, 384, 384)
    time_embedding: int = 32

    # A joint that hardly moves in the data must not be blown up to unit variance: 1.15 degrees are
    # 0.02 rad, and the gripper's 1.0 % is the same angle on its travel of 110 degrees.
    std_floor_deg: float = 1.15
    std_floor_gripper_pct: float = 1.0

    # Training only.
    noise_draws: int = 4  # chunks noised per encoded image: the image encoder is the expensive part
    max_shift_px: int = 3
    brightness_jitter: float = 0.1
    contrast_jitter: float = 0.2
    state_noise_std: float = 0.05  # of the standardised joints
    mask_padding: bool = (
        False  # False: past an episode's end the last goal is held, and that is learnt
    )
    average_rate: float = 0.01  # how fast the averaged weights follow, a step

    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    grad_clip_norm: float = 1.0
    warmup_steps: int = 200

    # Images are scaled inside the network; joints and goals by LeRobot's processors, whose numbers
    # travel with them.
    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: {
            "VISUAL": NormalizationMode.IDENTITY,
            "STATE": NormalizationMode.MEAN_STD,
            "ACTION": NormalizationMode.MEAN_STD,
        }
    )

    push_to_hub: bool = False  # nothing leaves this machine unasked (LeRobot's default is True)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be built or executed."""
        super().__post_init__()
        if self.n_obs_steps != 1:
            raise ValueError(
                f"so101_flow takes one observation: n_obs_steps must be 1, not {self.n_obs_steps}"
            )
        if not 1 <= self.n_action_steps <= self.chunk_size:
            raise ValueError(
                f"n_action_steps must lie in 1..{self.chunk_size} (chunk_size), "
                f"got {self.n_action_steps}"
            )
        if self.head not in HEADS:
            raise ValueError(f"head must be one of {', '.join(HEADS)}, got {self.head!r}")
        if self.integration_steps < 1:
            raise ValueError(f"integration_steps must be at least 1, got {self.integration_steps}")
        if not len(self.conv_channels) == len(self.conv_kernels) == len(self.conv_strides):
            raise ValueError("conv_channels, conv_kernels and conv_strides must be equally long")

    @property
    def camera_keys(self) -> list[str]:
        """Image inputs in the order in which their features are concatenated; may be empty."""
        return sorted(self.image_features)

    @property
    def state_size(self) -> int:
        """Number of joints observed."""
        feature = self.robot_state_feature
        if feature is None:
            raise ValueError("so101_flow needs the input observation.state")
        return int(feature.shape[0])

    @property
    def action_size(self) -> int:
        """Number of joints commanded."""
        feature = self.action_feature
        if feature is None:
            raise ValueError("so101_flow needs the output action")
        return int(feature.shape[0])

    def validate_features(self) -> None:
        """Raise ValueError unless joints and RGB images come in and one action vector goes out."""
        if len(self.robot_state_shape) != 1:
            raise ValueError(
                f"observation.state must be a vector, got shape {self.robot_state_shape}"
            )
        if self.action_size < 1:
            raise ValueError("action must have at least one number")
        for key, feature in self.image_features.items():
            if len(feature.shape) != 3 or feature.shape[0] != 3:
                raise ValueError(
                    f"{key} must be an RGB image (3, height, width), got shape {feature.shape}"
                )
        for key, feature in (self.input_features or {}).items():
            if feature.type is FeatureType.ENV:
                raise ValueError(
                    f"so101_flow has no input for {key}; remove it from the dataset's features"
                )

    @property
    def robot_state_shape(self) -> tuple[int, ...]:
        """Shape of observation.state, () when it is missing."""
        feature = self.robot_state_feature
        return tuple(feature.shape) if feature is not None else ()

    def get_optimizer_preset(self) -> AdamWConfig:
        """Return AdamW as LeRobot's trainer builds it."""
        return AdamWConfig(
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            grad_clip_norm=self.grad_clip_norm,
        )

    def get_scheduler_preset(self) -> CosineAnnealingWithWarmupSchedulerConfig:
        """Return linear warm-up, then a cosine to zero over the remaining steps."""
        return CosineAnnealingWithWarmupSchedulerConfig(num_warmup_steps=self.warmup_steps)

    @property
    def observation_delta_indices(self) -> None:
        """Only the present observation is used."""
        return

    @property
    def action_delta_indices(self) -> list[int]:
        """The chunk begins at the observation's own frame."""
        return list(range(self.chunk_size))

    @property
    def reward_delta_indices(self) -> None:
        """No reward is used."""
        return
