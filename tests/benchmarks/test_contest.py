"""A measurement in small, in real time: every process, and figures that can be true.

No latency is asserted: whatever else the machine does comes on top.
"""

from pathlib import Path

import pytest

from benchmarks.arms_messages import (
    AddFault,
    ArmsLog,
    ArmsReady,
    AskTorque,
    Begin,
    Begun,
    Report,
    Torque,
)
from benchmarks.bus_block import Block, BlockTimes
from benchmarks.bus_comparison import wire_floor_s
from benchmarks.child import Child
from benchmarks.contestants import Contest
from benchmarks.loop_run import run_contest
from robot.errors import NotConnected

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]


def test_two_ways_to_read_take_turns_on_one_bus() -> None:
    with Child("benchmarks.arms_process") as arms:
        device = arms.hear(ArmsReady).follower
        for method in ("ours", "sdk"):
            with Child("benchmarks.bus_methods", method, "position", device) as child:
                child.hear(bool)
                arms.ask(Begin(), Begun)
                times = child.ask(Block(20), BlockTimes)
                log = arms.ask(Report(), ArmsLog)

                assert times.example == [2000, 2000, 2000, 2000, 2047, 2000]
                assert min(times.wall_s) > wire_floor_s("position")
                assert len(log.pacing_s) >= 6 * (len(times.wall_s) + times.errors)
                assert times.cpu_s > 0


def test_a_pulled_adapter_ends_the_method_with_a_sentence() -> None:
    with Child("benchmarks.arms_process") as arms:
        device = arms.hear(ArmsReady).follower
        arms.ask(AddFault("unplug"), Begun)
        with Child("benchmarks.bus_methods", "ours", "position", device) as child:
            child.hear(bool)
            with pytest.raises(NotConnected, match=r"bus_methods ended unexpectedly"):
                child.ask(Block(1), BlockTimes)
        assert arms.ask(AskTorque(), Torque).follower == [0] * 6


def test_teleop_is_measured_from_the_servos_side(tmp_path: Path) -> None:
    row = run_contest(
        Contest("ours", "teleop", 50.0), tmp_path / "run", tmp_path, 2.0, settle_s=2.0
    )

    kept = row.punctuality
    assert 60 < kept.goals <= 102
    assert kept.lateness is not None
    assert row.reaction is not None
    assert row.reaction.count >= 3
    assert row.age is not None
    assert row.age.p50_ms > 1000 * (wire_floor_s("position") - 140e-6) / 2
    assert sum(row.cpu_ms_per_tick.values()) > 0
    assert row.torque_after == [0] * 6
    assert row.ended.startswith("exit 0")
