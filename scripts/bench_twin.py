"""`so101 bench twin`: does the twin follow a recording of real arms as they did?

Each recording is played through the whole path (bytes, buses, servo model, gravity) twice: its
leader readings sent as goals, and as a hand that moves the emulated leader. For each joint the best
constant delay between what was sent and where the follower was, and the residual after that delay,
stand beside those of the real follower in the same file.
"""

import json
import math
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rich.console import Console
from rich.table import Table

from robot.errors import ConfigError
from robot.joints import JOINTS
from scripts.svg_plot import Series, line_plot
from sim.bench_recording import (
    MAX_DELAY_ERROR_S,
    RESIDUAL_RATIO,
    Comparison,
    Route,
    Trace,
    compare,
    play,
)
from sim.recorded_pair import Fit, Recording, load_recording

SCHEMA = 1
ROUTE_TEXT = {
    Route.GOALS: "recorded readings sent as goals",
    Route.HAND: "recorded motion moves the leader",
}


@dataclass(frozen=True)
class Args:
    """Measure the twin against a recording of real arms: does it follow as they do?"""

    recording: tuple[Path, ...]
    """CSV: timestamp_s, action.<joint>, state.<joint>, normalised; several are fitted together."""
    json: bool = False
    """Print one JSON object instead of tables."""
    plot: Path | None = None
    """Also write curves of all joints to this HTML file."""
    check: bool = False
    """Exit with 1 when a joint lies outside the targets."""


def main(args: Args) -> int:
    """Play, compare, print."""
    if not args.recording:
        raise ConfigError("name at least one recording: so101 bench twin --recording FILE.csv")
    recordings = [load_recording(path) for path in args.recording]
    messages = Console(stderr=True)
    results: dict[Route, list[Comparison]] = {}
    traces: dict[Route, list[Trace]] = {}
    for route in Route:
        traces[route] = []
        for recording in recordings:
            with messages.status(f"playing {recording.name}: {ROUTE_TEXT[route]} ..."):
                traces[route].append(play(recording, route))
        results[route] = compare(recordings, traces[route])
    is_within = all(each.is_within for route in Route for each in results[route])
    if args.json:
        print(json.dumps(_as_json(recordings, results, is_within=is_within), indent=1))
    else:
        _print_tables(recordings, results)
    if args.plot is not None:
        _write_plot(args.plot, recordings, traces[Route.HAND])
        print(f"curves: {args.plot}", file=sys.stderr)
    return 1 if args.check and not is_within else 0


def _fit_json(fit: Fit) -> dict[str, float]:
    return {
        "delay_s": round(fit.delay_s, 4),
        "residual": round(fit.residual, 4),
        "residual_without_delay": round(fit.undelayed, 4),
    }


def _finite(ratio: float) -> float | None:
    """Return what JSON can hold: None for the ratio to a follower without any residual."""
    return round(ratio, 3) if math.isfinite(ratio) else None


def _as_json(
    recordings: list[Recording], results: dict[Route, list[Comparison]], *, is_within: bool
) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "recordings": [recording.name for recording in recordings],
        "targets": {"delay_error_s": MAX_DELAY_ERROR_S, "residual_ratio": RESIDUAL_RATIO},
        "is_within": is_within,
        "routes": {
            route.value: {
                each.joint: {
                    "real": _fit_json(each.real),
                    "twin": _fit_json(each.twin),
                    "delay_error_s": round(each.delay_error_s, 4),
                    "residual_ratio": _finite(each.residual_ratio),
                    "is_within": each.is_within,
                }
                for each in comparisons
            }
            for route, comparisons in results.items()
        },
    }


def _print_tables(recordings: list[Recording], results: dict[Route, list[Comparison]]) -> None:
    console = Console()
    names = ", ".join(recording.name for recording in recordings)
    low, high = RESIDUAL_RATIO
    for route, comparisons in results.items():
        table = Table(title=f"{names}: {ROUTE_TEXT[route]}")
        table.add_column("joint", no_wrap=True)
        for heading in ("delay\nreal", "ms\ntwin", "\ndiff"):
            table.add_column(heading, justify="right", no_wrap=True)
        for heading in ("residual\nreal", "\ntwin", "\nratio", "\nok"):
            table.add_column(heading, justify="right", no_wrap=True)
        for each in comparisons:
            table.add_row(
                each.joint,
                f"{each.real.delay_s * 1000:.0f}",
                f"{each.twin.delay_s * 1000:.0f}",
                f"{each.delay_error_s * 1000:+.0f}",
                f"{each.real.residual:.2f}",
                f"{each.twin.residual:.2f}",
                f"{each.residual_ratio:.2f}",
                "yes" if each.is_within else "NO",
            )
        console.print(table)
    console.print(
        f"Targets: delay within {MAX_DELAY_ERROR_S * 1000:.0f} ms; residual {low} to {high} times "
        "the real one on the five arm joints (the real gripper held an object). Residual: root "
        "mean square in normalised units."
    )


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<title>Twin beside a real arm</title>
<style>body{font:14px sans-serif;max-width:1000px;margin:2em auto}svg{width:100%;margin:1em 0}
.frame{fill:none;stroke:#888}.grid{stroke:#ddd}text{font-size:11px}.title{font-weight:bold}
.mid{text-anchor:middle}.end{text-anchor:end}</style>
"""


def _write_plot(path: Path, recordings: list[Recording], traces: list[Trace]) -> None:
    """Write one page, a plot a joint and recording: leader, real follower, emulated follower."""
    parts = [_PAGE, "<h1>The emulated follower beside the real one</h1>"]
    for recording, trace in zip(recordings, traces, strict=True):
        parts.append(f"<h2>{escape(recording.name)}</h2>")
        for index, joint in enumerate(JOINTS):
            series = [
                Series("leader", recording.times_s, trace.sent[:, index]),
                Series("real follower", recording.times_s, recording.state[:, index]),
                Series("twin", recording.times_s, trace.state[:, index]),
            ]
            parts.append(
                line_plot(joint, series, x_label="s", y_label="normalised", width=1000, height=260)
            )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(parts) + "</html>\n")
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}; name another file with --plot"
        ) from error
