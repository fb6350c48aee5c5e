"""Small plots as inline SVG, so that a report is one file with nothing external.

Three kinds, each a function from numbers to markup: lines over an axis, dots in the plane, and bars
with intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

COLOURS = ("#c1440e", "#1f5f8b", "#3c7a3c", "#8a6d1f", "#6b4c8a", "#444444")
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 30, 46


@dataclass(frozen=True, slots=True)
class Series:
    """One named set of points; `x` and `y` of equal length."""

    name: str
    x: ArrayLike
    y: ArrayLike


class _Frame:
    """Axes of one plot: maps data to pixels and draws ticks."""

    def __init__(
        self, width: int, height: int, x_range: tuple[float, float], y_range: tuple[float, float]
    ) -> None:
        self.width, self.height = width, height
        self._x0, x1 = x_range
        self._y0, y1 = y_range
        self._x_scale = (width - _LEFT - _RIGHT) / ((x1 - self._x0) or 1.0)
        self._y_scale = (height - _TOP - _BOTTOM) / ((y1 - self._y0) or 1.0)
        self._x_range, self._y_range = x_range, y_range

    def x(self, value: float) -> float:
        """Return the pixel column of a value."""
        return _LEFT + (value - self._x0) * self._x_scale

    def y(self, value: float) -> float:
        """Return the pixel row of a value."""
        return self.height - _BOTTOM - (value - self._y0) * self._y_scale

    def draw(self, title: str, x_label: str, y_label: str, body: Sequence[str]) -> str:
        """Wrap marks in axes, ticks and labels."""
        bottom = self.height - _BOTTOM
        right = self.width - _RIGHT
        parts = [
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(title)}">',
            f'<text x="{_LEFT}" y="18" class="title">{escape(title)}</text>',
            f'<rect x="{_LEFT}" y="{_TOP}" width="{right - _LEFT}" height="{bottom - _TOP}" '
            'class="frame"/>',
        ]
        # Without a label the horizontal axis only sets things apart: bars carry their names.
        for value in ticks(*self._x_range) if x_label else ():
            column = self.x(value)
            parts.append(
                f'<line x1="{column:.1f}" x2="{column:.1f}" y1="{_TOP}" y2="{bottom}" '
                'class="grid"/>'
            )
            parts.append(
                f'<text x="{column:.1f}" y="{bottom + 16}" class="tick mid">{value:g}</text>'
            )
        for value in ticks(*self._y_range):
            row = self.y(value)
            parts.append(
                f'<line x1="{_LEFT}" x2="{right}" y1="{row:.1f}" y2="{row:.1f}" class="grid"/>'
            )
            parts.append(
                f'<text x="{_LEFT - 6}" y="{row + 4:.1f}" class="tick end">{value:g}</text>'
            )
        parts.append(
            f'<text x="{self.width / 2:.0f}" y="{self.height - 10}" class="label mid">'
            f"{escape(x_label)}</text>"
        )
        parts.append(
            f'<text transform="translate(14 {self.height / 2:.0f}) rotate(-90)" class="label mid">'
            f"{escape(y_label)}</text>"
        )
        return "\n".join([*parts, *body, "</svg>"])


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Return round numbers between `low` and `high`."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / count
    magnitude = 10.0 ** np.floor(np.log10(raw))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= raw)
    first = np.ceil(low / step) * step
    return [
        round(float(first + i * step), 10) for i in range(int((high - first) / step + 1e-9) + 1)
    ]


def _legend(names: Sequence[str], width: int) -> list[str]:
    parts: list[str] = []
    right = width - _RIGHT - 8
    for index, name in enumerate(names):
        row = _TOP + 16 + index * 16
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<rect x="{right - 9}" y="{row - 8}" width="9" height="9" fill="{colour}"/>')
        parts.append(f'<text x="{right - 14}" y="{row}" class="tick end">{escape(name)}</text>')
    return parts


def line_plot(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    width: int = 640,
    height: int = 300,
) -> str:
    """Draw each series as a line; `y` starts at zero when all values are positive."""
    frame = _Frame(width, height, *_ranges(series))
    body: list[str] = []
    for index, one in enumerate(series):
        x, y = _floats(one.x), _floats(one.y)
        points = " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in zip(x, y, strict=True))
        body.append(
            f'<polyline points="{points}" fill="none" '
            f'stroke="{COLOURS[index % len(COLOURS)]}" stroke-width="1.5"/>'
        )
    return frame.draw(title, x_label, y_label, body + _legend([one.name for one in series], width))


def dot_plot(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    width: int = 640,
    height: int = 360,
) -> str:
    """Draw each series as dots in the plane."""
    x_range, y_range = _ranges(series, zero=False)
    frame = _Frame(width, height, x_range, y_range)
    body = [
        f'<circle cx="{frame.x(a):.1f}" cy="{frame.y(b):.1f}" r="4" '
        f'fill="{COLOURS[index % len(COLOURS)]}" fill-opacity="0.75"/>'
        for index, one in enumerate(series)
        for a, b in zip(_floats(one.x), _floats(one.y), strict=True)
    ]
    return frame.draw(title, x_label, y_label, body + _legend([one.name for one in series], width))


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a share between 0 and 1, with its interval."""

    name: str
    value: float
    low: float
    high: float


def bar_plot(title: str, bars: Sequence[Bar], *, width: int = 640, height: int = 260) -> str:
    """Draw shares in percent with their 95 % intervals."""
    frame = _Frame(width, height, (0.0, float(len(bars))), (0.0, 100.0))
    body: list[str] = []
    for index, bar in enumerate(bars):
        left, right, middle = frame.x(index + 0.25), frame.x(index + 0.75), frame.x(index + 0.5)
        top, base = frame.y(100 * bar.value), frame.y(0)
        body.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" '
            f'width="{right - left:.1f}" height="{base - top:.1f}" '
            f'fill="{COLOURS[index % len(COLOURS)]}" fill-opacity="0.8"/>'
        )
        body.append(
            f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{frame.y(100 * bar.low):.1f}" '
            f'y2="{frame.y(100 * bar.high):.1f}" stroke="#222" stroke-width="2"/>'
        )
        body.append(
            f'<text x="{middle:.1f}" y="{base - 8:.1f}" class="bar mid">{escape(bar.name)}</text>'
        )
    return frame.draw(title, "", "percent (bar), 95 % Wilson interval (line)", body)


def _floats(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


def _ranges(
    series: Sequence[Series], *, zero: bool = True
) -> tuple[tuple[float, float], tuple[float, float]]:
    x = np.concatenate([_floats([]), *(_floats(one.x) for one in series)])
    y = np.concatenate([_floats([]), *(_floats(one.y) for one in series)])
    if not len(x):
        return (0.0, 1.0), (0.0, 1.0)
    y_low, y_high = float(y.min()), float(y.max())
    margin = 0.06 * (y_high - y_low or 1.0)
    low = 0.0 if zero and y_low >= 0 else y_low - margin
    x_margin = 0.0 if zero else 0.06 * float(np.ptp(x) or 1.0)
    return (float(x.min()) - x_margin, float(x.max()) + x_margin), (low, y_high + margin)
