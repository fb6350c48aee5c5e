"""The result of `so101 bench control`: figures, budgets, file, tables and plot, without a run."""

import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from benchmarks.arrivals import Punctuality
from benchmarks.bus_block import BlockTimes
from benchmarks.bus_comparison import BusResult, bus_rows, wire_floor_s
from benchmarks.contestants import Side
from benchmarks.control import SCHEMA, ControlResult, Verdict, load, save, verdicts
from benchmarks.lateness_plot import lateness_plot
from benchmarks.loop_run import LoopRow, TailPoint, tail
from benchmarks.machine import MachineLoad, describe_machine
from benchmarks.quantiles import Quantiles, quantiles
from robot.errors import ConfigError
from scripts.bench_control import print_result

LOAD = MachineLoad(busy_share=0.5, steal_share=0.0, load_average=1.0)


def four(p99_ms: float) -> Quantiles:
    return Quantiles(1000, p99_ms / 2, p99_ms, p99_ms, p99_ms)


def loop(
    side: Side, rate_hz: float, late_ms: float, *, missed: int = 0, fifo: tuple[str, ...] = ()
) -> LoopRow:
    return LoopRow(
        side=side,
        activity="recording",
        rate_hz=rate_hz,
        is_fifo_refused=False,
        fifo=list(fifo),
        seconds=60.0,
        punctuality=Punctuality(
            asked_hz=rate_hz,
            achieved_hz=rate_hz,
            goals=6000,
            missed=missed,
            lost_slots=0,
            lateness=four(late_ms),
            excess=four(late_ms / 2),
        ),
        reaction=four(11.0),
        age=four(2.0),
        cpu_ms_per_tick={"guard.py": 0.02, "scripts record": 0.7, "scripts.control_host": 1.0},
        stored_mb_s=1.3,
        generators_share={"arms": 0.17, "cameras": 0.02},
        others_share=0.0,
        pacing=four(0.01),
        load=LOAD,
        ended="exit 0 after SIGINT",
        torque_after=[0] * 6,
        lateness_tail=[TailPoint(late_ms, 0.01)],
        excess_tail=[TailPoint(late_ms / 2, 0.01)],
    )


def result() -> ControlResult:
    block = BlockTimes([0.00075] * 100, 0.005, 0, [2000.0] * 6)
    sdk = BlockTimes([0.0008] * 100, 0.05, 1, [2000.0] * 6)
    rows = bus_rows({("sdk", "position"): [sdk], ("ours", "position"): [block, block]})
    loops = [
        loop("ours", 100.0, 1.0, fifo=("scripts.control_host",)),
        loop("ours", 100.0, 1.0),
        loop("lerobot", 30.0, 9.0),
    ]
    return ControlResult(
        schema=SCHEMA,
        began_utc="2026-11-22T16:00:00+00:00",
        is_quick=True,
        machine=describe_machine(),
        load=LOAD,
        bus=BusResult(rows, four(0.01), 0.25),
        loops=loops,
        verdicts=verdicts(rows, loops),
    )


def verdict(found: list[Verdict], words: str) -> Verdict:
    (one,) = [each for each in found if words in each.budget]
    return one


def test_the_wire_floor_is_that_of_the_frames() -> None:
    """14 + 48 bytes of ten bits and six turnarounds; 14 + 126 for the 15-byte block."""
    assert wire_floor_s("position") == pytest.approx(680e-6)
    assert wire_floor_s("block") == pytest.approx(1460e-6)


def test_a_way_to_read_is_judged_over_all_its_blocks() -> None:
    ours, sdk = result().bus.rows

    assert (ours.method, sdk.method) == ("ours", "sdk")
    assert ours.wall is not None
    assert ours.wall.count == 200
    assert ours.cpu_us == pytest.approx(50.0)
    assert ours.floor_ratio == pytest.approx(750 / 680)
    assert ours.sdk_cpu_ratio == pytest.approx(50.0 / (0.05e6 / 101))
    assert sdk.errors == 1


def test_quantiles_are_values_that_occurred() -> None:
    found = quantiles([value / 1000 for value in range(1, 1001)])

    assert found == Quantiles(1000, 500.0, 990.0, 999.0, 1000.0)
    assert quantiles([]) is None


@pytest.mark.parametrize(("missed", "is_held"), [(0, True), (1, False)])
def test_with_fifo_no_tick_may_be_missed(missed: int, is_held: bool) -> None:
    row = loop("ours", 100.0, 1.0, missed=missed, fifo=("scripts.control_host",))

    assert verdict(verdicts([], [row]), "missed ticks").is_within is is_held


@pytest.mark.parametrize(("missed", "is_held"), [(30, True), (31, False)])
def test_without_fifo_thirty_ticks_may_be_missed(missed: int, is_held: bool) -> None:
    row = loop("ours", 100.0, 1.0, missed=missed)

    assert verdict(verdicts([], [row]), "missed ticks").is_within is is_held


@pytest.mark.parametrize(("late_ms", "is_held"), [(4.4, True), (4.6, False)])
def test_lateness_is_compared_with_lerobots_even_when_its_drift_is_forgiven(
    late_ms: float, is_held: bool
) -> None:
    found = verdicts([], [loop("ours", 100.0, late_ms), loop("lerobot", 30.0, 9.0)])

    assert verdict(found, "drift forgiven").is_within is is_held


def test_the_file_is_read_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "control.json"

    save(result(), path)

    assert load(path) == result()


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control.json"
    save(msgspec.structs.replace(result(), schema=SCHEMA + 1), path)

    with pytest.raises(ConfigError, match=f"schema {SCHEMA + 1}"):
        load(path)


def test_tables_fit_eighty_columns_and_name_what_fails() -> None:
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as capture:
        print_result(result(), console)
    shown = capture.get()

    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for words in (
        "so101 100 Hz record FIFO",
        "LeRobot 30 Hz record",
        "p99.9",
        "stolen",
        "control_host 1.00",
    ):
        assert words in shown


def test_the_plot_is_one_well_formed_file_with_a_line_for_each_loop() -> None:
    drawn = lateness_plot(result().loops)

    lines = ET.fromstring(drawn).findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 4  # LeRobot has two: with and without its drift
    assert drawn.count("http") == 1  # the name space


def test_a_tail_keeps_each_of_the_largest_values() -> None:
    points = tail([0.001 * value for value in range(1, 1001)])

    assert points[0] == TailPoint(1000.0, 0.001)
    assert points[1] == TailPoint(pytest.approx(999.0), 0.002)  # type: ignore[arg-type]
    assert len(points) < 100
