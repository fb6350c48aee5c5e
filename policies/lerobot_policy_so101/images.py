"""From camera images of any size to the small ones the network sees; random changes of these.

`shrink_images` is the only way to make a small image: the trainer's cache and the policy at run
time both call it, so that they see the same pixels. It therefore ends in whole numbers, whatever
the type that came in.
"""

import torch
import torch.nn.functional as nn_functional
from torch import Generator, Tensor


def shrink_images(images: Tensor, size_px: int) -> Tensor:
    """Average images over areas.

    Args:
        images: (B, 3, height, width), uint8 or floating point in [0, 1] (LeRobot's convention).
        size_px: side of the result.

    Returns:
        uint8 (B, 3, size_px, size_px).
    """
    if images.dtype != torch.uint8:
        images = (images * 255.0).round_().clamp_(0.0, 255.0)  # back to the camera's whole numbers
    if images.shape[-2:] != (size_px, size_px):
        # Contiguous, because torch sums in another order for other layouts, and ties would round
        # differently.
        small = nn_functional.adaptive_avg_pool2d(images.float().contiguous(), size_px)
        images = small.add_(0.5).clamp_(0.0, 255.0)
    return images.to(torch.uint8)


def shift_images(images: Tensor, max_shift_px: int, generator: Generator | None) -> Tensor:
    """Move each image (B, 3, H, W) by up to `max_shift_px` both ways, repeating its border."""
    if max_shift_px == 0:
        return images
    count, _, height, width = images.shape
    shifts = torch.randint(
        -max_shift_px, max_shift_px + 1, (2, count), generator=generator, dtype=torch.int64
    ).to(images.device)
    rows = (torch.arange(height, device=images.device) + shifts[0, :, None]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=images.device) + shifts[1, :, None]).clamp_(0, width - 1)
    # Two gathers along one axis each: half the index arithmetic of one gather of pixels.
    images = images.gather(2, rows[:, None, :, None].expand(count, images.shape[1], height, width))
    return images.gather(3, columns[:, None, None, :].expand(count, images.shape[1], height, width))


def jitter_images(
    images: Tensor, *, brightness: float, contrast: float, generator: Generator | None
) -> Tensor:
    """Scale each image, float around zero (B, 3, H, W), by 1 ± contrast, and add ± brightness."""
    draws = (
        torch.rand((2, images.shape[0], 1, 1, 1), generator=generator).to(images.device) * 2.0 - 1.0
    )
    return torch.addcmul(draws[0] * brightness, images, 1.0 + draws[1] * contrast)
