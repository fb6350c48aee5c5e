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
    "ours": "so101",
    "sdk": "SDK",
    "lerobot": "LeRobot",
    "rustypot": "rustypot",
}
READS = {"position": "position", "block": "15 bytes"}
ACTIVITIES = {
    "teleop": "teleop",
    "recording": "record",
    "recording, streaming encoder": "rec. stream",
}
LEGEND = (
    "By: this project's bus, the SDK's GroupSyncRead, rustypot's and LeRobot's sync_read. "
    "Lateness: on the grid of the rate asked for. Missed: a gap over 1.5 periods. Gap: time since "
    "the goal before, less one period, which forgives a loop that runs slow. Leader to goal: from "
    "the change of the emulated leader's register to the last byte of the first goal that follows "
    "it. Sample: age of the leader's sample at that byte. Pacing: how much later than due the "
    "emulator's replies left. Others: all that is neither command nor load generator."
)


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
    console.print()
    console.print(_bus_table(result.bus))
    console.print()
    console.print(_lateness_table(result.loops))
    console.print()
    console.print(_latency_table(result.loops))
    console.print()
    console.print(_cost_table(result.loops))
    console.print(f"\n{LEGEND}", highlight=False)
    console.print()
    console.print(_budget_table(result))


def _bus_table(bus: BusResult) -> Table:
    floors = {READS[row.what]: row.floor_us for row in bus.rows}
    floor = ", ".join(f"{name} {floor_us:.0f}" for name, floor_us in floors.items())
    table = _table(
        f"Six servos read in turn over one bus, us (wire floor: {floor}). {_emulator(bus)}"
    )
    table.add_column("read", no_wrap=True)
    table.add_column("by", no_wrap=True)
    for heading in ("p50", "p99", "p99.9", "max", "of floor", "CPU", "of SDK", "errors"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in bus.rows:
        wall = _four(row.wall, scale=1000, digits=0)
        table.add_row(
            READS[row.what],
            NAMES[row.method],
            *wall,
            f"{row.floor_ratio:.2f}",
            f"{row.cpu_us:.0f}",
            "" if row.sdk_cpu_ratio is None else f"{row.sdk_cpu_ratio:.2f}",
            str(row.errors),
        )
    return table


def _emulator(bus: BusResult) -> str:
    late = "" if bus.pacing is None else f", replies late by {bus.pacing.p99_ms * 1000:.0f} at p99"
    return f"Emulator: {bus.emulator_cpu_share:.0%} of a core{late}"


def loop_name(row: LoopRow) -> str:
    """Name a row: whose loop, at which rate, doing what, with which priority."""
    if row.side == "lerobot":
        return f"LeRobot {row.rate_hz:g} Hz {ACTIVITIES[row.activity]}"
    fifo = "FIFO" if row.fifo else "no FIFO"
    return f"so101 {row.rate_hz:g} Hz {ACTIVITIES[row.activity]} {fifo}"


def _lateness_table(loops: list[LoopRow]) -> Table:
    table = _table("Goals at the emulated follower: lateness on the ideal grid, ms")
    table.add_column("loop", no_wrap=True)
    for heading in ("Hz", "goals", "missed", "p50", "p99", "p99.9", "max"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in loops:
        kept = row.punctuality
        counts = (f"{kept.achieved_hz:.2f}", str(kept.goals), str(kept.missed))
        table.add_row(loop_name(row), *counts, *_four(kept.lateness))
    return table


def _latency_table(loops: list[LoopRow]) -> Table:
    table = _table("The same goals: gap beyond a period, reaction, sample age, ms")
    table.add_column("loop", no_wrap=True)
    for heading in ("gap\np99", "\nmax", "leader to\ngoal p50", "\np99", "sample\np50", "\np99"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in loops:
        gap = _four(row.punctuality.excess)
        table.add_row(loop_name(row), gap[1], gap[3], *_four(row.reaction)[:2], *_four(row.age)[:2])
    return table


def _cost_table(loops: list[LoopRow]) -> Table:
    table = _table("What it cost, and what else ran")
    table.add_column("loop", no_wrap=True)
    table.add_column("CPU a tick,\nms", min_width=17)
    table.add_column("generators,\nof a core", max_width=12)
    for heading in ("stored\nMB/s", "pacing\nus p99", "stolen"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in loops:
        shares = {**row.generators_share, "others": row.others_share}
        table.add_row(
            loop_name(row),
            ", ".join(f"{_short(name)} {ms:.2f}" for name, ms in row.cpu_ms_per_tick.items()),
            ", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
            f"{row.stored_mb_s:.1f}",
            _four(row.pacing, scale=1000, digits=0)[1],
            f"{row.load.steal_share:.1%}",
        )
    return table


def _budget_table(result: ControlResult) -> Table:
    table = _table("Budgets")
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
    return table


def _short(process: str) -> str:
    """Name a process by what follows the package: control_host, record, guard."""
    return process.removesuffix(".py").split(" ")[-1].split(".")[-1]


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), header_style="underline"
    )


def _four(found: Quantiles | None, *, scale: float = 1.0, digits: int = 2) -> list[str]:
    if found is None:
        return ["-"] * 4
    values = (found.p50_ms, found.p99_ms, found.p999_ms, found.max_ms)
    return [f"{value * scale:.{digits}f}" for value in values]
