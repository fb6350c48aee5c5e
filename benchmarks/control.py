"""`so101 bench control`: the bus beside three others, then the whole loop beside LeRobot's."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.bench_rig import write_calibrations
from benchmarks.bus_comparison import BusResult, BusRow, check_rustypot, compare_buses
from benchmarks.contestants import FULL, OUR_HZ, QUICK
from benchmarks.loop_run import LoopRow, run_contest
from benchmarks.machine import Machine, MachineLoad, cpu_times, describe_machine, load_between
from benchmarks.stored_frames import store_frames
from robot.errors import ConfigError

SCHEMA = 1

# The budgets of docs/architecture.md.
FLOOR_RATIO = 1.15
SDK_CPU_RATIO = 0.2
REACTION_MS = 1000 / OUR_HZ + 2.5
AGE_MS = 2.5
MISSED_PER_6000 = {True: 0, False: 30}  # with SCHED_FIFO, and without


class Scale(msgspec.Struct, frozen=True):
    """How long to measure."""

    bus_rounds: int
    bus_calls: int  # of each way to read, in each round
    loop_s: float  # of each row of the loop table


QUICK_SCALE = Scale(bus_rounds=8, bus_calls=100, loop_s=5.0)
FULL_SCALE = Scale(bus_rounds=40, bus_calls=250, loop_s=60.0)


class Verdict(msgspec.Struct, frozen=True):
    """One budget and what was measured."""

    budget: str
    limit: float
    measured: float

    @property
    def is_within(self) -> bool:
        """Whether the budget is held."""
        return self.measured <= self.limit


class ControlResult(msgspec.Struct, frozen=True):
    """The JSON file."""

    schema: int
    began_utc: str
    is_quick: bool
    machine: Machine
    load: MachineLoad  # over everything
    bus: BusResult
    loops: list[LoopRow]
    verdicts: list[Verdict]


def measure(folder: Path, *, is_quick: bool, on_progress: Callable[[str], None]) -> ControlResult:
    """Measure everything.

    Args:
        folder: for calibrations, pictures and what the commands say; must exist.
        is_quick: a minute and a half instead of a quarter of an hour; its tails mean little.
        on_progress: told what is running.

    Raises:
        ConfigError: something to compare with is not installed.
        NotConnected: a command under test ended by itself.
    """
    check_rustypot()
    scale = QUICK_SCALE if is_quick else FULL_SCALE
    began_utc = datetime.now(UTC).isoformat(timespec="seconds")
    before = cpu_times()
    write_calibrations(folder)
    on_progress("drawing the pictures that the cameras will replay")
    store_frames(folder / "frames")
    bus = compare_buses(folder, scale.bus_rounds, scale.bus_calls, on_progress)
    loops: list[LoopRow] = []
    contests = QUICK if is_quick else FULL
    for number, contest in enumerate(contests):
        on_progress(
            f"loop {number + 1} of {len(contests)}: {contest.side}, {contest.activity} at "
            f"{contest.rate_hz:g} Hz for {scale.loop_s:g} s"
        )
        place = folder / f"run{number}"
        loops.append(run_contest(contest, place, folder / "frames", scale.loop_s))
        shutil.rmtree(place, ignore_errors=True)  # a recording may have filled a gigabyte
    return ControlResult(
        schema=SCHEMA,
        began_utc=began_utc,
        is_quick=is_quick,
        machine=describe_machine(),
        load=load_between(before, cpu_times()),
        bus=bus,
        loops=loops,
        verdicts=verdicts(bus.rows, loops),
    )


def verdicts(bus: list[BusRow], loops: list[LoopRow]) -> list[Verdict]:
    """Compare with the budgets; a budget nobody measured has no verdict."""
    found: list[Verdict] = []
    for row in bus:
        if row.method == "ours" and row.what == "position":
            found.append(Verdict("bus: median, of the wire floor", FLOOR_RATIO, row.floor_ratio))
            if row.sdk_cpu_ratio is not None:
                found.append(Verdict("bus: CPU, of the SDK's", SDK_CPU_RATIO, row.sdk_cpu_ratio))
    for loop in loops:
        if loop.side == "ours":
            found += _loop_verdicts(loop, loops)
    return found


def _loop_verdicts(row: LoopRow, loops: list[LoopRow]) -> list[Verdict]:
    name = f"{row.activity}, {'FIFO' if row.fifo else 'no FIFO'}"
    kept = row.punctuality
    found: list[Verdict] = []
    if row.activity == "recording":
        allowed = MISSED_PER_6000[bool(row.fifo)]
        scaled = 6000 * kept.missed / max(1, kept.goals)
        found.append(Verdict(f"{name}: missed ticks in 6 000", allowed, scaled))
        for other in loops:
            if other.side == "lerobot" and other.activity == "recording" and other.rate_hz == 30.0:
                found += _beside(name, row, other)
    if row.reaction is not None:
        found.append(Verdict(f"{name}: leader to goal, p99 ms", REACTION_MS, row.reaction.p99_ms))
    if row.age is not None:
        found.append(Verdict(f"{name}: sample to goal, p99 ms", AGE_MS, row.age.p99_ms))
    return found


def _beside(name: str, row: LoopRow, other: LoopRow) -> list[Verdict]:
    """Be better than LeRobot in the same run, on the grid and with all its drift forgiven."""
    ours, theirs = row.punctuality, other.punctuality
    found: list[Verdict] = []
    if ours.lateness and theirs.lateness:
        found.append(
            Verdict(
                f"{name}: lateness p99 ms, below LeRobot's",
                theirs.lateness.p99_ms,
                ours.lateness.p99_ms,
            )
        )
    if ours.lateness and theirs.excess:
        found.append(
            Verdict(
                f"{name}: lateness p99 ms, below LeRobot's with its drift forgiven",
                theirs.excess.p99_ms,
                ours.lateness.p99_ms,
            )
        )
    share = ours.missed / max(1, ours.goals)
    found.append(
        Verdict(
            f"{name}: share of ticks missed, not above LeRobot's",
            theirs.missed / max(1, theirs.goals),
            share,
        )
    )
    return found


def save(result: ControlResult, path: Path) -> None:
    """Write the JSON file; raises ConfigError when it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}; name another file with --output"
        ) from error


def load(path: Path) -> ControlResult:
    """Read a result; raises ConfigError when it is none or of another version."""
    try:
        result = msgspec.json.decode(path.read_bytes(), type=ControlResult)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no result of so101 bench control: {error}") from error
    if result.schema != SCHEMA:
        raise ConfigError(
            f"{path} has schema {result.schema}, this version writes {SCHEMA}: measure again"
        )
    return result
