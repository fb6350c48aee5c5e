"""The four figures of every distribution here: p50, p99, p99.9 and the largest."""

from collections.abc import Sequence

import msgspec
import numpy as np


class Quantiles(msgspec.Struct, frozen=True):
    """Of one distribution, in milliseconds; `count` says how far out they can be trusted."""

    count: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


def quantiles(values_s: Sequence[float]) -> Quantiles | None:
    """Return the four figures; None of nothing.

    Each is a value that occurred: the smallest that at least so many percent do not exceed.

    Args:
        values_s: in seconds, any order.
    """
    if len(values_s) == 0:
        return None
    p50, p99, p999, largest = 1000.0 * np.quantile(
        np.asarray(values_s, dtype=np.float64), [0.5, 0.99, 0.999, 1.0], method="inverted_cdf"
    )
    return Quantiles(len(values_s), float(p50), float(p99), float(p999), float(largest))
