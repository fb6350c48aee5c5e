"""Plots: round ticks, marks inside their frame, and nothing that falls over without data."""

import re
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.svg_plot import Bar, Series, bar_plot, dot_plot, line_plot, ticks

type Plot = Callable[[list[Series]], str]

WIDTH, HEIGHT = 640, 360


def lines(series: list[Series]) -> str:
    return line_plot("Title", series, x_label="x", y_label="y", width=WIDTH, height=HEIGHT)


def dots(series: list[Series]) -> str:
    return dot_plot("Title", series, x_label="x", y_label="y", width=WIDTH, height=HEIGHT)


def points(markup: str) -> list[tuple[float, float]]:
    """Return the marks of a plot in pixels, after checking that it is well-formed."""
    root = ElementTree.fromstring(markup)
    found = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter("circle")]
    for line in root.iter("polyline"):
        pairs = re.findall(r"(-?[\d.]+),(-?[\d.]+)", line.attrib["points"])
        found += [(float(x), float(y)) for x, y in pairs]
    return found


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-7, 12, [-5, 0, 5, 10]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_lie_between_the_ends_at_even_distances(low: float, span: float) -> None:
    marks = ticks(low, low + span)

    assert 2 <= len(marks) <= 8
    assert low - 1e-6 * span <= marks[0]
    assert marks[-1] <= low + span + 1e-6 * span
    assert np.ptp(np.diff(marks)) <= 1e-6 * span


@pytest.mark.parametrize("plot", [lines, dots])
def test_marks_lie_inside_the_picture_the_right_way_up(plot: Plot) -> None:
    marks = points(plot([Series("a", [0, 1, 2], [5, 7, 6]), Series("b", [3], [4])]))

    assert len(marks) == 4
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in marks)
    assert [x for x, _ in marks] == sorted(x for x, _ in marks)
    (_, five), (_, seven), (_, six), _ = marks
    assert seven < six < five  # rows count downwards


@pytest.mark.parametrize("plot", [lines, dots])
@pytest.mark.parametrize(
    "series",
    [
        [],
        [Series("empty", [], [])],
        [Series("empty", [], []), Series("one", [1.0], [2.0])],
        [Series("level", [1.0, 1.0], [2.0, 2.0])],
    ],
)
def test_little_or_no_data_is_an_empty_plot(plot: Plot, series: list[Series]) -> None:
    marks = points(plot(series))

    assert len(marks) == sum(np.size(one.x) for one in series)
    assert np.isfinite(np.array(marks)).all()


def test_a_bar_is_as_high_as_its_share() -> None:
    root = ElementTree.fromstring(bar_plot("T", [Bar("half", 0.5, 0.3, 0.7), Bar("all", 1, 1, 1)]))

    half, whole = [one for one in root.iter("rect") if one.get("class") != "frame"]
    assert float(whole.attrib["height"]) == pytest.approx(2 * float(half.attrib["height"]), abs=0.2)


def test_no_bars_are_an_empty_plot() -> None:
    ElementTree.fromstring(bar_plot("Title", []))


def test_names_are_text_and_never_markup() -> None:
    markup = lines([Series("<script>", [0, 1], [0, 1])])

    assert "<script>" not in markup
    ElementTree.fromstring(markup)
