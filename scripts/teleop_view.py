"""What a person sees of a running arm: each joint, its servo's health, and how the loop keeps time.

A table that renews itself on a terminal, plain lines elsewhere. A thread draws what is newest; the
tick listener only leaves it there, so that a slow terminal never holds anything up.
"""

import threading
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.statistics import percentiles
from robot.errors import So101Error
from robot.health import Finding, Response
from robot.joints import GRIPPER, JOINTS
from robot.loop import Tick
from robot.registers import status_names

TABLE_PERIOD_S = 0.2
LINE_PERIOD_S = 1.0
WINDOW_TICKS = 1000  # 10 s at 100 Hz: what the percentiles are of
JOIN_S = 1.0
SILENT_S = 0.05  # a sample this much older than its tick is said to be old
NEWS_KEPT = 100
STYLES = {
    Response.GO: "",
    Response.WARN: "yellow",
    Response.DERATE: "yellow",
    Response.HOLD: "red",
    Response.STOP: "red",
}


@dataclass(frozen=True, slots=True)
class LoopFigures:
    """How the loop kept time in the last seconds."""

    rate_hz: float
    p50_ms: float
    p99_ms: float
    missed: int  # since the start

    @property
    def sentence(self) -> str:
        """Say it in a line."""
        return (
            f"{self.rate_hz:.1f} Hz, late by {self.p50_ms:.2f} ms (p50) and {self.p99_ms:.2f} ms "
            f"(p99), {self.missed} missed"
        )


def loop_figures(kept: list[tuple[float, float]], missed: int) -> LoopFigures:
    """Sum up ticks, oldest first: start in seconds, lateness in milliseconds; at least one."""
    span_s = kept[-1][0] - kept[0][0]
    late = percentiles([lateness_ms for _, lateness_ms in kept])
    assert late is not None
    return LoopFigures((len(kept) - 1) / span_s if span_s else 0.0, late.p50, late.p99, missed)


class TeleopView:
    """Shows the newest tick until the context is left; a tick listener."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._newest: Tick | None = None
        self._kept: deque[tuple[float, float]] = deque(maxlen=WINDOW_TICKS)
        self._news: deque[Finding] = deque(maxlen=NEWS_KEPT)
        self._error: Exception | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="view", daemon=True)

    def __enter__(self) -> Self:
        """Begin to show."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show the last tick and end; a terminal that takes nothing is left behind."""
        self._is_over.set()
        self._thread.join(JOIN_S)

    def on_tick(self, tick: Tick) -> None:
        """Keep the newest tick; raises what ended the drawing (a closed pipe)."""
        if self._error is not None:
            raise self._error
        with self._lock:
            self._newest = tick
            self._kept.append((tick.time_s, tick.lateness_s * 1e3))
            self._news.extend(tick.news)

    def _run(self) -> None:
        try:
            if self._console.is_terminal:
                with Live(console=self._console, auto_refresh=False) as live:
                    self._draw(TABLE_PERIOD_S, live)
            else:
                self._draw(LINE_PERIOD_S, None)
        except SystemExit:  # what rich makes of a closed pipe
            self._error = So101Error("nobody takes this command's output any more: it ends")
        except Exception as error:  # noqa: BLE001 - handed to the loop, as every thread's
            self._error = error

    def _draw(self, period_s: float, live: Live | None) -> None:
        shown: Tick | None = None
        is_over = False
        while not is_over:
            is_over = self._is_over.wait(period_s)
            with self._lock:
                tick, kept = self._newest, list(self._kept)
                news = list(self._news)
                self._news.clear()
            for finding in news:
                self._console.print(Text(finding.sentence, STYLES[finding.response]))
            if tick is None or tick is shown:
                continue
            shown = tick
            figures = loop_figures(kept, tick.missed)
            if live is None:
                self._console.print(line(tick, figures), highlight=False, soft_wrap=True)
            else:
                live.update(Group(table(tick), *footer(tick, figures)), refresh=True)


def line(tick: Tick, figures: LoopFigures) -> str:
    """Say the most in one line, for a log."""
    gap = np.abs(tick.asked_deg - tick.observed.position_deg)
    widest = int(np.argmax(gap))
    hottest = int(np.argmax(tick.observed.temperature_celsius))
    return (
        f"tick {tick.index + 1}: {figures.sentence}, {mood(tick)}, largest gap {gap[widest]:.1f}"
        f"{unit(widest)} ({JOINTS[widest]}), "
        f"hottest {tick.observed.temperature_celsius[hottest]:.0f} °C ({JOINTS[hottest]}), "
        f"{tick.observed.current_ma.sum() / 1000:.1f} A"
    )


def table(tick: Tick) -> Table:
    """Put the six joints in rows."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("joint")
    for head in ("position", "gap", "load", "current", "voltage", "temp."):
        shown.add_column(head, justify="right")
    shown.add_column("servo")
    for index, joint in enumerate(JOINTS):
        shown.add_row(*_row(tick, index, joint), style=_style(tick, joint))
    return shown


def footer(tick: Tick, figures: LoopFigures) -> list[Text]:
    """Say what holds for the whole arm: timing, mood, and each finding's sentence."""
    return [
        Text(f"{figures.sentence}; {mood(tick)}"),
        *(Text(each.sentence, STYLES[each.response]) for each in tick.health.findings),
    ]


def mood(tick: Tick) -> str:
    """Say what the loop is doing."""
    if tick.phase == "rest":
        return "walking to rest"
    if tick.health.response >= Response.HOLD:
        return "holding"
    if tick.is_ramping:
        return "ramping"
    if tick.health.speed_factor < 1.0:
        return f"slowed to {100 * tick.health.speed_factor:.0f} %"
    return "following"


def unit(index: int) -> str:
    """Return the unit of a joint."""
    return "%" if index == GRIPPER else "°"


def _row(tick: Tick, index: int, joint: str) -> list[str]:
    seen = tick.observed
    gap = tick.asked_deg[index] - seen.position_deg[index]
    return [
        joint,
        f"{seen.position_deg[index]:.1f} {unit(index)}",
        f"{gap:+.1f} {unit(index)}",
        f"{seen.load_pct[index]:.0f} %",
        f"{seen.current_ma[index]:.0f} mA",
        f"{seen.voltage_v[index]:.1f} V",
        f"{seen.temperature_celsius[index]:.0f} °C",
        ", ".join(_words(tick, index, joint)) or "ok",
    ]


def _words(tick: Tick, index: int, joint: str) -> list[str]:
    """Say what the servo reports, what was found, and whether it is heard."""
    silent_s = tick.time_s - tick.observed.time_s[index]
    found = [each.kind for each in tick.health.findings if each.joint == joint]
    bits = [f"{name} error" for name in status_names(tick.observed.status[index])]
    return [*bits, *found, *([f"silent for {silent_s:.1f} s"] if silent_s > SILENT_S else [])]


def _style(tick: Tick, joint: str) -> str:
    of_joint = [each.response for each in tick.health.findings if each.joint == joint]
    return STYLES[max(of_joint, default=Response.GO)]
