"""Statistics of a dataset's features, in LeRobot's ten figures and its way of aggregating episodes.

Numbers: exact, per dimension. Images: per channel over sampled frames, in [0, 1], shape (3, 1, 1),
from a histogram of the 256 levels, so that quantiles are exact too. `count` is frames, never
pixels: LeRobot's streaming encoder counts pixels, and a mix corrupts the weights. Aggregated
quantiles are weighted means of the episodes' quantiles, as in LeRobot 0.6
(`compute_stats.aggregate_feature_stats`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from record.images import Image

Stats = dict[str, NDArray[np.float64]]

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
NAMES = ("min", "max", "mean", "std", "count", *QUANTILES)
MAX_SAMPLED_FRAMES = 60  # of an episode; levels of a scene change little from frame to frame
_PIXEL_STRIDE = 2
_LEVELS = 256


def number_stats(values: NDArray[np.generic]) -> Stats:
    """Return the statistics of (n,) or (n, d) numbers, each of shape (d,), d = 1 for (n,)."""
    table = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    stats = {
        "min": table.min(axis=0),
        "max": table.max(axis=0),
        "mean": table.mean(axis=0),
        "std": table.std(axis=0),
        "count": np.array([len(table)], dtype=np.float64),
    }
    quantiles = np.quantile(table, list(QUANTILES.values()), axis=0)
    stats.update(zip(QUANTILES, quantiles, strict=True))
    return stats


def sampled_frames(count: int) -> NDArray[np.int64]:
    """Return which frames of an episode enter the image statistics, evenly spread."""
    chosen = np.linspace(0, count - 1, min(count, MAX_SAMPLED_FRAMES))
    return np.unique(np.round(chosen)).astype(np.int64)


class ImageLevels:
    """Counts how often each of the 256 levels occurs in each channel."""

    def __init__(self) -> None:
        self._counts = np.zeros((3, _LEVELS))

    def add(self, image: Image) -> None:
        """Count every second pixel of every second line."""
        pixels = image[::_PIXEL_STRIDE, ::_PIXEL_STRIDE]
        for channel in range(3):
            self._counts[channel] += np.bincount(pixels[:, :, channel].ravel(), minlength=_LEVELS)

    def stats(self, frames: int) -> Stats:
        """Return the statistics in [0, 1], each (3, 1, 1), weighted as `frames` frames."""
        levels = np.arange(_LEVELS) / (_LEVELS - 1)
        shares = self._counts / self._counts.sum(axis=1, keepdims=True)
        mean = shares @ levels
        variance = shares @ levels**2 - mean**2
        cumulative = np.cumsum(shares, axis=1)
        used = self._counts > 0
        columns = {
            "min": levels[used.argmax(axis=1)],
            "max": levels[_LEVELS - 1 - used[:, ::-1].argmax(axis=1)],
            "mean": mean,
            "std": np.sqrt(np.maximum(variance, 0.0)),
        }
        for name, share in QUANTILES.items():
            columns[name] = levels[
                np.minimum((cumulative < share - 1e-12).sum(axis=1), _LEVELS - 1)
            ]
        stats = {name: column.reshape(3, 1, 1) for name, column in columns.items()}
        stats["count"] = np.array([frames], dtype=np.float64)
        return stats


def aggregate(parts: Sequence[Mapping[str, Stats]]) -> dict[str, Stats]:
    """Combine the statistics of episodes, weighted by their counts."""
    return {feature: _aggregate_feature([part[feature] for part in parts]) for feature in parts[0]}


def _aggregate_feature(parts: Sequence[Stats]) -> Stats:
    shape = (-1,) + (1,) * parts[0]["mean"].ndim
    weights = np.array([part["count"][0] for part in parts]).reshape(shape)
    weights = weights / weights.sum()
    means = np.stack([part["mean"] for part in parts])
    mean = (means * weights).sum(axis=0)
    variances = np.stack([part["std"] for part in parts]) ** 2 + (means - mean) ** 2
    combined = {
        "min": np.stack([part["min"] for part in parts]).min(axis=0),
        "max": np.stack([part["max"] for part in parts]).max(axis=0),
        "mean": mean,
        "std": np.sqrt((variances * weights).sum(axis=0)),
        "count": np.array([sum(part["count"][0] for part in parts)]),
    }
    for name in QUANTILES:
        combined[name] = (np.stack([part[name] for part in parts]) * weights).sum(axis=0)
    return combined
