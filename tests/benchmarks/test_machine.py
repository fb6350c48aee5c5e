"""What a measurement ran on."""

import os
import subprocess
import sys

import pytest

from benchmarks.machine import (
    CpuTimes,
    ProcessCost,
    cost_between,
    cpu_times,
    describe_machine,
    load_between,
    process_costs,
    process_name,
)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["python", "-m", "scripts", "teleop", "--rig", "x.toml"], "scripts teleop"),
        (["python", "-m", "scripts.control_host", "/tmp/x"], "scripts.control_host"),
        (["python", "-I", "/somewhere/robot/guard.py", "7"], "guard.py"),
        (["/usr/bin/sleep", "1"], "sleep"),
    ],
)
def test_a_process_is_named_by_what_it_runs(words: list[str], name: str) -> None:
    assert process_name(words) == name


def test_load_is_the_share_of_all_processors() -> None:
    before = CpuTimes(total_s=100.0, idle_s=50.0, steal_s=1.0)
    after = CpuTimes(total_s=110.0, idle_s=54.0, steal_s=2.0)

    load = load_between(before, after)

    assert load.busy_share == pytest.approx(0.6)
    assert load.steal_share == pytest.approx(0.1)


def test_processes_of_one_name_are_added_up_and_new_ones_count_in_full() -> None:
    before = {1: ProcessCost("a", 1.0), 2: ProcessCost("b", 5.0)}
    after = {1: ProcessCost("a", 1.5), 2: ProcessCost("b", 5.25), 3: ProcessCost("b", 1.0)}

    assert cost_between(before, after) == {"a": 0.5, "b": 1.25}


def test_descendants_count_even_in_a_session_of_their_own() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    ) as child:
        costs = process_costs(os.getpid())
        assert child.stdin is not None
        child.stdin.write(b"\n")

    assert child.pid in costs
    assert os.getpid() in costs


def test_this_machine_can_be_described() -> None:
    machine = describe_machine()

    assert machine.cores >= 1
    assert machine.versions["feetech-servo-sdk"] != "not installed"
    assert cpu_times().total_s > 0
