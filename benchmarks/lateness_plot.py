"""The tail of every loop's lateness as one SVG file: which share of goals came later than what.

Both axes are logarithmic, because what matters is the one tick in a thousand. LeRobot has two
lines: solid with all its drift forgiven (`arrivals.excess_s`), dashed on the ideal grid.
"""

import math
from collections.abc import Sequence
from html import escape

from benchmarks.loop_run import LoopRow, TailPoint

WIDTH, HEIGHT = 900, 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 50
_X_MS = (0.01, 1000.0)
_Y_SHARE = (1e-4, 1.0)
COLOURS = ("#c1440e", "#e08a2e", "#8a6d1f", "#c9a227", "#1f5f8b", "#6b4c8a", "#3c7a3c", "#2aa198",
           "#444444")  # fmt: skip
_OURS, _THEIRS = COLOURS[:4], COLOURS[4:]


def lateness_plot(loops: Sequence[LoopRow]) -> str:
    """Draw one line a loop."""
    parts = [_head(), *_grid()]
    legend: list[tuple[str, str]] = []
    ours, theirs = list(_OURS), list(_THEIRS)
    for row in loops:
        palette = ours if row.side == "ours" else theirs
        colour = palette.pop(0) if palette else COLOURS[-1]
        if row.side == "ours":
            parts.append(_line(row.lateness_tail, colour))
            legend.append((_name(row), colour))
        else:
            parts += [
                _line(row.excess_tail, colour),
                _line(row.lateness_tail, colour, is_dashed=True),
            ]
            legend.append((_name(row), colour))
    for index, (name, colour) in enumerate(legend):
        y = HEIGHT - _BOTTOM - 14 - 17 * (len(legend) - 1 - index)
        parts.append(f'<rect x="{_LEFT + 10}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 26}" y="{y}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _name(row: LoopRow) -> str:
    if row.side == "lerobot":
        return f"LeRobot {row.rate_hz:g} Hz, {row.activity} (dashed: on the ideal grid)"
    return f"this project {row.rate_hz:g} Hz, {row.activity}, {'FIFO' if row.fifo else 'no FIFO'}"


def _head() -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
        f'<text x="{_LEFT}" y="24" font-size="15" font-weight="bold">'
        "How late goals reach the servos</text>"
    )


def _grid() -> list[str]:
    parts: list[str] = []
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    for exponent in range(round(math.log10(_X_MS[0])), round(math.log10(_X_MS[1])) + 1):
        x = _x(10.0**exponent)
        parts.append(f'<line x1="{x}" x2="{x}" y1="{_TOP}" y2="{bottom}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{10.0**exponent:g}</text>'
        )
    for exponent in range(round(math.log10(_Y_SHARE[0])), 1):
        y = _y(10.0**exponent)
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        label = f"{100 * 10.0**exponent:g} %"
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{label}</text>')
    parts.append(
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">later than this, ms</text>'
    )
    parts.append(
        f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        "share of goals</text>"
    )
    return parts


def _line(tail: Sequence[TailPoint], colour: str, *, is_dashed: bool = False) -> str:
    points = " ".join(f"{_x(point.late_ms)},{_y(point.share)}" for point in tail)
    dash = ' stroke-dasharray="5 4" stroke-opacity="0.7"' if is_dashed else ""
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'


def _x(late_ms: float) -> float:
    low, high = map(math.log10, _X_MS)
    share = (math.log10(min(max(late_ms, _X_MS[0]), _X_MS[1])) - low) / (high - low)
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)


def _y(share: float) -> float:
    low = math.log10(_Y_SHARE[0])
    height = math.log10(max(share, _Y_SHARE[0])) / -low
    return round(_TOP - height * (HEIGHT - _TOP - _BOTTOM), 1)
