"""`so101 bench control`: bus and loop beside LeRobot, the SDK and rustypot, in one run.

Everything runs on emulated arms paced like a real bus and on cameras that replay stored pictures,
each in a process of its own whose cost is printed too. Measure on a machine that does nothing else.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.bus_comparison import BusResult
from benchmarks.control import ControlResult, measure, save
from benchmarks.lateness_plot import lateness_plot
from benchmarks.loop_run import LoopRow
from benchmarks.quantiles import Quantiles
from robot.errors import ConfigError

NAMES = {
    "ours": "this project",
    "sdk": "SDK GroupSyncRead",
    "lerobot": "LeRobot sync_read",
    "rustypot": "rustypot",
}
READS = {"position": "position", "block": "15-byte block"}


@dataclass(frozen=True)
class Args:
    """Measure bus and control loop beside LeRobot, the SDK and rustypot."""

    output: Path = Path("outputs/bench/control.json")
    """Write all figures here as JSON, and the plot of the lateness beside it as .svg."""
    quick: bool = False
    """A minute instead of a quarter of an hour: to see that it works. Its tails mean little."""
    check: bool = False
    """Exit with 1 when a budget is missed."""


def main(args: Args) -> int:
    """Measure, print, store."""
    console = Console()
    try:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".control-", dir=args.output.parent)).resolve()
    except OSError as error:
        raise ConfigError(
            f"cannot write to {args.output.parent}: {error.strerror}; name another --output"
        ) from error
    messages = Console(stderr=True)
    try:
        with messages.status("starting ...") as status:
            result = measure(work, is_quick=args.quick, on_progress=status.update)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    save(result, args.output)
    plot = args.output.with_suffix(".svg")
    plot.write_text(lateness_plot(result.loops))
    print_result(result, console)
    console.print(f"figures: {args.output}\nplot: {plot}", highlight=False)
    return 1 if args.check and not all(each.is_within for each in result.verdicts) else 0


def print_result(result: ControlResult, console: Console) -> None:
    """Print the tables and what they were measured on."""
    machine, load = result.machine, result.load
    console.print(
        f"{machine.cores} cores of {machine.cpu}, Linux {machine.kernel}, Python {machine.python}; "
        f"busy {load.busy_share:.0%}, stolen {load.steal_share:.1%}, load average "
        f"{load.load_average:.2f}; commit {machine.commit or 'unknown'}",
        highlight=False,
    )
    console.print(
        ", ".join(f"{name} {version}" for name, version in machine.versions.items()),
        highlight=False,
    )
    console.print(_bus_table(result.bus))
    console.print(_lateness_table(result.loops))
    console.print(_cost_table(result.loops))
    console.print(
        "Late: on the ideal grid of the rate asked for. Gap: time since the goal before, less one "
        "period (forgives a loop that runs slow). Missed: a gap over 1.5 periods. Leader to goal: "
        "the emulated leader's register changes to the last byte of the goal at the emulated "
        "follower. Sample: age of the leader's sample at that byte. Pacing: how much later than "
        "due the emulator's replies left.",
        highlight=False,
    )
    table = Table(title="Budgets")
    table.add_column("budget")
    for heading in ("limit", "measured", "held"):
        table.add_column(heading, justify="right")
    for verdict in result.verdicts:
        table.add_row(
            verdict.budget,
            f"{verdict.limit:.3g}",
            f"{verdict.measured:.3g}",
            "yes" if verdict.is_within else "NO",
        )
    console.print(table)


def _bus_table(bus: BusResult) -> Table:
    pacing = (
        f"{bus.pacing.p50_ms * 1000:.0f}/{bus.pacing.p99_ms * 1000:.0f} us" if bus.pacing else "-"
    )
    table = Table(
        title=f"Six servos read over one 1 Mbps bus, in turn (emulator: "
        f"{bus.emulator_cpu_share:.0%} of a core, its replies late by {pacing} p50/p99)"
    )
    table.add_column("read")
    table.add_column("by")
    for heading in ("floor", "p50", "p99", "p99.9", "max us", "of floor", "CPU us", "of SDK's",
                    "errors"):  # fmt: skip
        table.add_column(heading, justify="right")
    for row in bus.rows:
        wall = [""] * 4 if row.wall is None else [
            f"{value * 1000:.0f}"
            for value in (row.wall.p50_ms, row.wall.p99_ms, row.wall.p999_ms, row.wall.max_ms)
        ]  # fmt: skip
        table.add_row(
            READS[row.what],
            NAMES[row.method],
            f"{row.floor_us:.0f}",
            *wall,
            f"{row.floor_ratio:.2f}",
            f"{row.cpu_us:.0f}",
            "" if row.sdk_cpu_ratio is None else f"{row.sdk_cpu_ratio:.2f}",
            str(row.errors),
        )
    return table


def loop_name(row: LoopRow) -> str:
    """Name a row: whose loop, doing what, at which rate, with which priority."""
    if row.side == "lerobot":
        return f"LeRobot {row.rate_hz:g} Hz, {row.activity}"
    return f"this {row.rate_hz:g} Hz, {row.activity}, {'FIFO' if row.fifo else 'no FIFO'}"


def _four(found: Quantiles | None) -> list[str]:
    if found is None:
        return ["-"] * 4
    return [f"{v:.2f}" for v in (found.p50_ms, found.p99_ms, found.p999_ms, found.max_ms)]


def _lateness_table(loops: list[LoopRow]) -> Table:
    table = Table(title="Goals as they arrive at the emulated follower, ms")
    table.add_column("loop")
    for heading in ("Hz", "goals", "missed", "late p50", "p99", "p99.9", "max", "gap p99", "max",
                    "leader to\ngoal p50", "p99", "sample\np50", "p99"):  # fmt: skip
        table.add_column(heading, justify="right")
    for row in loops:
        kept = row.punctuality
        table.add_row(
            loop_name(row),
            f"{kept.achieved_hz:.2f}",
            str(kept.goals),
            str(kept.missed),
            *_four(kept.lateness),
            *_four(kept.excess)[1::2],
            *_four(row.reaction)[:2],
            *_four(row.age)[:2],
        )
    return table


def _cost_table(loops: list[LoopRow]) -> Table:
    table = Table(title="What it cost")
    for heading in ("loop", "CPU a tick, ms", "generators, of a core", "others"):
        table.add_column(heading)
    for heading in ("pacing us\np50", "p99", "max", "stolen", "ended"):
        table.add_column(heading, justify="right")
    for row in loops:
        pacing = row.pacing
        table.add_row(
            loop_name(row),
            ", ".join(f"{name} {ms:.2f}" for name, ms in sorted(row.cpu_ms_per_tick.items())),
            ", ".join(f"{name} {share:.0%}" for name, share in row.generators_share.items()),
            f"{row.others_share:.0%}",
            *(
                ["-"] * 3
                if pacing is None
                else [f"{v * 1000:.0f}" for v in (pacing.p50_ms, pacing.p99_ms, pacing.max_ms)]
            ),
            f"{row.load.steal_share:.1%}",
            row.ended,
        )
    return table
