"""The live view of an arm: what it says, and that drawing never holds a tick up."""

import io
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from robot.errors import So101Error
from robot.health import GOOD, Finding, Health, Response
from robot.joint_sample import JointSample
from robot.loop import Tick
from scripts.teleop_view import TeleopView, loop_figures

HOT = Finding("elbow_flex", "temperature", Response.DERATE, "elbow_flex is at 66 °C: slowed")


def tick(index: int, *, health: Health = GOOD, news: tuple[Finding, ...] = ()) -> Tick:
    now_s = 100.0 + index / 100
    six = np.arange(6, dtype=np.float64)
    sample = JointSample(
        time_s=np.array([now_s] * 5 + [now_s - 0.3]),
        position_deg=10.0 * six,
        velocity_deg_s=six,
        load_pct=-5.0 * six,
        voltage_v=np.full(6, 7.4),
        temperature_celsius=30.0 + six,
        current_ma=100.0 * six,
        status=(0, 0, 0x21, 0, 0, 0),
    )
    asked = sample.position_deg + np.array([0.0, -2.5, 0.0, 0.0, 0.0, 1.0])
    return Tick(index, now_s, 0.001, 3, sample, asked, asked, now_s, health, news)


def shown(*ticks: Tick, terminal: bool) -> str:
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=terminal, width=120, height=40, _environ={"TERM": "xterm"}
    )
    with TeleopView(console) as view:
        for each in ticks:
            view.on_tick(each)
    return file.getvalue()


def test_a_terminal_shows_every_joint_with_its_servo() -> None:
    yielding = np.zeros(6, dtype=np.bool_)
    hot = Health(Response.DERATE, 0.5, yielding, (HOT,), (HOT,))

    text = shown(tick(0), tick(1, health=hot, news=(HOT,)), terminal=True)

    text = " ".join(text.split())
    assert "shoulder_lift 10.0 ° -2.5 ° -5 % 100 mA 7.4 V 31 °C ok" in text
    assert "voltage error, overload error, temperature" in text  # the servo's bits, the finding
    assert "50.0 % +1.0 % -25 % 500 mA 7.4 V 35 °C silent for 0.3 s" in text
    assert HOT.sentence in text
    assert "100.0 Hz, late by 1.00 ms (p50) and 1.00 ms (p99), 3 missed; slowed to 50 %" in text


def test_elsewhere_it_says_a_line_and_each_finding_once() -> None:
    ticks = [tick(0), tick(1, news=(HOT,)), tick(2)]

    lines = shown(*ticks, terminal=False).splitlines()

    assert lines[0] == HOT.sentence
    assert len(lines) == 2
    assert lines[1].startswith("tick 3: 100.0 Hz, late by")
    assert "3 missed, following, largest gap 2.5° (shoulder_lift), hottest 35 °C" in lines[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"phase": "rest"}, "walking to rest"),
        ({"is_ramping": True}, "ramping"),
        ({"health": replace(GOOD, response=Response.HOLD)}, "holding"),
    ],
)
def test_it_says_what_the_loop_is_doing(change: dict[str, object], words: str) -> None:
    assert words in shown(replace(tick(0), **change), terminal=False)  # type: ignore[arg-type]


class Blocked(io.StringIO):
    """A terminal that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.asked = threading.Event()

    def write(self, text: str) -> int:
        self.asked.set()
        assert self.free.wait(20.0)
        return super().write(text)


def test_a_terminal_that_takes_nothing_holds_no_tick_up() -> None:
    file = Blocked()
    with TeleopView(Console(file=file, force_terminal=True)) as view:
        view.on_tick(tick(0))
        assert file.asked.wait(10.0)
        for index in range(1, 5000):
            view.on_tick(tick(index))
        file.free.set()

    assert "position" in file.getvalue()


def test_a_closed_pipe_ends_the_drive(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(Console, "on_broken_pipe", lambda _: sys.exit(1))  # as it does, less dup2
    view = TeleopView(Console(file=Closed()))
    with view:
        view.on_tick(tick(0))

    with pytest.raises(So101Error, match="nobody takes this command's output"):
        view.on_tick(tick(1))


def test_lost_slots_show_in_the_rate() -> None:
    kept = [(0.0, 0.1), (0.01, 0.2), (0.04, 0.3)]

    figures = loop_figures(kept, 2)

    assert (figures.rate_hz, figures.p50_ms, figures.p99_ms) == (50.0, 0.2, 0.3)
