"""The demo's report: one HTML file with plots, pictures and commands, nothing external.

Everything in it is read from the files that the steps left behind: journals, training log, result
files.
"""

import base64
import math
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from deploy.results import EvaluationResult, load_result
from record.contact_sheet import contact_sheet
from record.journal import list_journals
from record.journal_reader import Journal, read_journal
from robot.joints import JOINTS
from scripts.svg_plot import Bar, Series, bar_plot, dot_plot, line_plot
from train.log import read_log

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fbfaf7; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem }
h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd }
figure { margin: 1rem 0 }
figcaption { color: #555; font-size: .9rem }
svg, img { max-width: 100%; height: auto; background: #fff; border: 1px solid #e4e0d8 }
.frame { fill: none; stroke: #999 }
.grid { stroke: #eee }
text { font: 12px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600; font-size: 13px }
.mid { text-anchor: middle }
.end { text-anchor: end }
.bar { fill: #fff; font-weight: 600 }
table { border-collapse: collapse }
td, th { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top }
td.n { text-align: right }
code { background: #f0ede6; padding: .1rem .3rem; font-size: .85rem; overflow-wrap: anywhere }
.big { font-size: 1.4rem; font-weight: 600 }
.note { background: #fff4d6; padding: .5rem .8rem; border-left: 4px solid #d9a400 }
"""


@dataclass(frozen=True, slots=True)
class DemoStep:
    """One step of the demo: what a person would type, and how long it took."""

    title: str
    command: str
    duration_s: float


def write_report(folder: Path, steps: list[DemoStep], *, quick: bool, total_s: float) -> Path:
    """Write `report.html` into the demo's folder and return its path."""
    policy = load_result(folder / "evaluation" / "results.json")
    control = load_result(folder / "evaluation" / "results-nearest-replay.json")
    rollout = load_result(folder / "rollout" / "results.json")
    recordings = {
        "demonstration": read_journal(list_journals(folder / "realtime" / "journals")[0]),
        "rollout": read_journal(list_journals(folder / "rollout")[0]),
    }
    episode = read_journal(list_journals(folder / "data" / "journals")[0])
    sections = [
        _success_section(policy, control),
        _training_section(folder),
        _timing_section(recordings, rollout),
        _episode_section(episode),
        _steps_section(steps, total_s),
    ]
    path = folder / "report.html"
    path.write_text(_page(policy, quick, sections), encoding="utf-8")
    return path


def _page(policy: EvaluationResult, quick: bool, sections: list[str]) -> str:
    note = (
        '<p class="note">Made with <code>--quick</code>: few demonstrations, short training, few '
        "trials. It shows that every part works; it does not show a trained policy.</p>"
        if quick
        else ""
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>so101 demo</title>'
        f"<style>{STYLE}</style>"
        "<h1>The whole job on the digital twin</h1>"
        "<p>Two emulated SO-101 arms that speak real servo bytes, two virtual cameras, a scripted "
        "demonstrator who moves the leader. Nothing here has touched hardware.</p>"
        f'{note}<p class="big">The policy picked the red block in {escape(policy.sentence)}.</p>'
        + "".join(sections)
        + "</html>\n"
    )


def _success_section(policy: EvaluationResult, control: EvaluationResult) -> str:
    bars = [
        Bar(name, result.successes / len(result.trials), *result.interval)
        for name, result in (("policy", policy), ("replay of the nearest", control))
    ]
    starts = [trial.start for trial in policy.trials]
    dots = [
        Series("training start", *_positions_mm(policy.training_starts)),
        Series(
            "trial, success",
            *_positions_mm([t.start for t in policy.trials if t.outcome == "success"]),
        ),
        Series(
            "trial, failure",
            *_positions_mm([t.start for t in policy.trials if t.outcome == "failure"]),
        ),
    ]
    nearest_mm = 1000 * min(
        (
            np.hypot(a["red_x_m"] - b["red_x_m"], a["red_y_m"] - b["red_y_m"])
            for a in starts
            for b in policy.training_starts
        ),
        default=float("nan"),
    )
    return (
        "<h2>Success</h2>"
        + _figure(
            bar_plot("Success", bars),
            f"Policy: {policy.sentence}. "
            f"Control, the nearest demonstration replayed: {control.sentence}.",
        )
        + _figure(
            dot_plot(
                "Where the red block stood",
                dots,
                x_label="y, mm (left of the arm)",
                y_label="x, mm (in front of the arm)",
            ),
            f"{len(policy.training_starts)} training starts and {len(starts)} trials; "
            f"the closest pair is {nearest_mm:.1f} mm apart.",
        )
    )


def _positions_mm(starts: list[dict[str, float]]) -> tuple[list[float], list[float]]:
    return [1000 * start["red_y_m"] for start in starts], [
        1000 * start["red_x_m"] for start in starts
    ]


def _training_section(folder: Path) -> str:
    log = read_log(folder / "train")
    step = [row.step for row in log]
    series = [Series("training", step, [math.log10(row.loss) for row in log])]
    measured = [(row.step, row.validation_loss) for row in log if row.validation_loss]
    if measured:
        held_out = [math.log10(loss) for _, loss in measured]
        series.append(Series("held-out episodes", [at for at, _ in measured], held_out))
    plot = line_plot(
        "Training curve",
        series,
        x_label="optimiser step",
        y_label="log10 of the loss (standardised, squared)",
    )
    return "<h2>Training</h2>" + _figure(plot, f"{step[-1]} steps in {log[-1].elapsed_s:.0f} s.")


def _timing_section(recordings: dict[str, Journal], rollout: EvaluationResult) -> str:
    series: list[Series] = []
    rows: list[str] = []
    for name, journal in recordings.items():
        lateness_ms = 1000 * journal.goals.lateness_s
        share = np.linspace(0, 100, 201)
        series.append(Series(name, share, np.percentile(lateness_ms, share)))
        p50, p99, p999 = np.percentile(lateness_ms, [50, 99, 99.9])
        missed = int(journal.goals.missed[-1] - journal.goals.missed[0])
        times_ms = (p50, p99, p999, lateness_ms.max())
        cells = [f"{len(lateness_ms)}", f"{missed}", *(f"{time_ms:.2f}" for time_ms in times_ms)]
        rows.append(f"<tr><td>{name}" + "".join(f"<td class=n>{cell}" for cell in cells))
    outcome = "succeeded" if rollout.successes else "did not succeed"
    table = (
        "<table><tr><th>real time, over a serial device<th>ticks<th>missed"
        "<th>p50 ms<th>p99 ms<th>p99.9 ms<th>max ms" + "".join(rows) + "</table>"
    )
    plot = line_plot(
        "How late the 100 Hz loop woke", series, x_label="percentile", y_label="lateness, ms"
    )
    return (
        "<h2>Loop timing</h2>"
        + table
        + _figure(
            plot,
            "Emulator, cameras, recorder and policy shared this machine's processors. "
            f"The rollout {outcome}.",
        )
    )


def _episode_section(journal: Journal) -> str:
    start_s = journal.goals.time_s[0]
    time_s = journal.goals.time_s - start_s
    series: list[Series] = []
    for index in (1, 2):
        series.append(Series(f"{JOINTS[index]}, goal", time_s, journal.goals.sent_deg[:, index]))
        series.append(
            Series(
                f"{JOINTS[index]}, follower",
                journal.joints.time_s[:, index] - start_s,
                journal.joints.position_deg[:, index],
            )
        )
    plot = line_plot("Goal and follower", series, x_label="seconds", y_label="degrees")
    picture = base64.b64encode(contact_sheet(journal, 3, 4, kind="jpeg")).decode()
    return (
        "<h2>One demonstration</h2>"
        + _figure(
            f'<img alt="contact sheet" src="data:image/jpeg;base64,{picture}">',
            f"{journal.path.name}: both cameras, joints in degrees.",
        )
        + _figure(
            plot, "The servos lag and droop as real ones do; the demonstrator corrects for it."
        )
    )


def _steps_section(steps: list[DemoStep], total_s: float) -> str:
    rows = "".join(
        f"<tr><td class=n>{number}<td>{escape(step.title)}<br>"
        f"<code>{escape(step.command)}</code><td class=n>{step.duration_s:.0f} s"
        for number, step in enumerate(steps, start=1)
    )
    return (
        "<h2>Every step</h2>"
        "<p>These commands were run, in this order. To repeat one by hand: <code>train</code> "
        "refuses a folder that holds a run, so give it another <code>--output</code> or remove "
        "that folder first; <code>record</code> appends to what is there; the others replace "
        f"their results.</p><table>{rows}"
        f"<tr><td><td>together<td class=n>{total_s:.0f} s</table>"
    )


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"
