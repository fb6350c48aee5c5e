"""What the policy sees: a small encoder a camera, and the context of all of them and the joints.

Each camera ends in a spatial softmax (Levine et al. 2016): the mean position of each feature map,
so that "where is the block" survives in two numbers a map while the network stays small.
"""

import itertools

import torch
from torch import Tensor, nn

from lerobot_policy_so101.configuration_so101_flow import So101FlowConfig


class SpatialSoftmax(nn.Module):
    """Mean position of each map, in [-1, 1]: (B, maps, H, W) to (B, 2 * maps)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return the x of every map, then the y of every map."""
        count, channels, height, width = maps.shape
        weights = maps.flatten(2).softmax(dim=-1).view(count, channels, height, width)
        x = torch.linspace(-1.0, 1.0, width, device=maps.device, dtype=maps.dtype)
        y = torch.linspace(-1.0, 1.0, height, device=maps.device, dtype=maps.dtype)
        return torch.cat([weights.sum(dim=2) @ x, weights.sum(dim=3) @ y], dim=1)


class CameraEncoder(nn.Sequential):
    """One camera: (B, 3, size, size) scaled to ±0.5, to (B, 2 * keypoints)."""

    def __init__(self, config: So101FlowConfig) -> None:
        layers: list[nn.Module] = []
        channels_in = 3
        for channels, kernel, stride in zip(
            config.conv_channels, config.conv_kernels, config.conv_strides, strict=True
        ):
            layers += [
                nn.Conv2d(channels_in, channels, kernel, stride, padding=kernel // 2),
                nn.GroupNorm(config.norm_groups, channels),
                nn.SiLU(),
            ]
            channels_in = channels
        layers += [nn.Conv2d(channels_in, config.keypoints, 1), SpatialSoftmax()]
        super().__init__(*layers)


def mlp(sizes: list[int], *, ends_linear: bool) -> nn.Sequential:
    """Return linear layers of these widths with SiLU between, and last unless `ends_linear`."""
    layers: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(sizes):
        layers += [nn.Linear(width_in, width_out), nn.SiLU()]
    return nn.Sequential(*(layers[:-1] if ends_linear else layers))


class ContextEncoder(nn.Module):
    """All cameras (possibly none) and the joints, to one vector (B, context_sizes[-1])."""

    def __init__(self, config: So101FlowConfig) -> None:
        super().__init__()
        self.cameras = nn.ModuleList(CameraEncoder(config) for _ in config.camera_keys)
        features = config.state_size + 2 * config.keypoints * len(config.camera_keys)
        self.mix = mlp([features, *config.context_sizes], ends_linear=False)

    def forward(self, state: Tensor, images: list[Tensor]) -> Tensor:
        """Encode standardised joints (B, state_size) and images in the order of `camera_keys`."""
        seen = [encoder(image) for encoder, image in zip(self.cameras, images, strict=True)]
        return self.mix(torch.cat([*seen, state], dim=1))
