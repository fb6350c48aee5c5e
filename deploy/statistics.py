"""How sure a success rate is, and percentiles of what was measured."""

import math
from collections.abc import Sequence

import msgspec

Z_95 = 1.959963984540054  # two-sided 95 % of the normal distribution


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a success rate, (low, high) in 0..1.

    (0, 1) when nothing was tried.

    Wilson 1927; unlike the textbook interval it stays within 0..1 and does not collapse at 0 or all
    successes.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials is impossible")
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    denominator = 1.0 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / denominator
    half = z / denominator * math.sqrt(rate * (1.0 - rate) / trials + z * z / (4 * trials * trials))
    # the ends are exact there, rounding would leave 1e-17 over
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return low, high


class Percentiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one measured quantity, in its own unit; never only a mean."""

    count: int
    p50: float
    p99: float
    p999: float
    max: float


def percentiles(values: Sequence[float]) -> Percentiles | None:
    """Return p50, p99, p99.9 and max by nearest rank, so that each is a value that occurred.

    None without values.
    """
    if not values:
        return None
    ordered = sorted(values)

    def rank(fraction: float) -> float:
        return ordered[min(len(ordered) - 1, max(0, math.ceil(fraction * len(ordered)) - 1))]

    return Percentiles(
        count=len(ordered), p50=rank(0.5), p99=rank(0.99), p999=rank(0.999), max=ordered[-1]
    )
