"""Every way to stop a command that drives an arm, and how the arm is left.

Read afterwards from the emulated servos: the torque registers, and where the arm stands. One twin
for all; `deploy` stops in tests/scripts/test_deploy_command.py, where a policy is at hand.
"""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command_bench import (
    GONE_WITHIN_S,
    Bench,
    RunningTwin,
    breakable,
    calibrated_bench,
    read_until,
    running_twin,
    wait_for,
)

from record.journal import list_journals
from record.journal_reader import read_journal
from robot.joints import GRIPPER
from robot.rest import REST_DEG
from robot.run_folder import remove_dead_folders
from robot.torque import TorqueState
from scripts.driving import HINT

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP]
AT_REST_DEG = 15.0  # released, a folded arm settles a little
OFF_AT_ONCE_S = 1.0


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with calibrated_bench() as one:
        yield one


@pytest.fixture(scope="module")
def twin(bench: Bench) -> Iterator[RunningTwin]:
    with running_twin(bench) as one:
        yield one


def start(
    bench: Bench, name: str, output: Path, rig: Path | None = None
) -> "subprocess.Popen[str]":
    """Start a command; returns when it drives (and records)."""
    process: subprocess.Popen[str]
    if name == "teleop":
        process = bench.command("teleop")
        read_until(process, "tick ")
    else:
        words = ["--unattended", "--episode-s", "60", "--reset-s", "1", "--no-export"]
        process = bench.command("record", "--output", str(output), *words, rig=rig)
        read_until(process, "recording episode")
    return process


def is_at_rest(bench: Bench, twin: RunningTwin) -> bool:
    away_deg = np.abs(bench.position_deg(twin.follower_port)[:GRIPPER] - REST_DEG)
    return bool(away_deg.max() < AT_REST_DEG)


def control_is_gone(bench: Bench) -> bool:
    return not any(
        words in line for line in bench.processes().values() for words in ("control_host", "guard")
    )


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("name", ["teleop", "record"])
def test_the_first_signal_walks_to_rest_and_lets_go(
    bench: Bench, twin: RunningTwin, tmp_path: Path, name: str, number: signal.Signals
) -> None:
    before = bench.traces()
    process = start(bench, name, tmp_path)
    bench.traces()  # learns its ports

    process.send_signal(number)
    said = process.communicate(timeout=GONE_WITHIN_S)[0]

    assert process.returncode == 0, said
    assert HINT in said
    saved = 1 if name == "record" else 0  # journals are closed when the arm has let go
    assert said.splitlines()[-1 - saved] == f"follower torque: {TorqueState.OFF}"
    assert bench.torque(twin.follower_port) == [0] * 6
    assert is_at_rest(bench, twin)
    assert bench.left_since(before) == set()
    if name == "record":
        (path,) = list_journals(tmp_path / "journals", unfinished=True)
        journal = read_journal(path)
        assert journal.is_complete
        # A twin that two busy cores hold up is silent now and then, which is an event too.
        names = [event.name for event in journal.events if event.name != "health"]
        assert names == ["start", "stop", "end"]


@pytest.mark.parametrize("name", ["teleop", "record"])
def test_the_second_signal_lets_go_at_once(
    bench: Bench, twin: RunningTwin, tmp_path: Path, name: str
) -> None:
    before = bench.traces()
    process = start(bench, name, tmp_path)

    process.send_signal(signal.SIGINT)
    read_until(process, HINT)
    process.send_signal(signal.SIGINT)
    asked_s = time.monotonic()
    line = read_until(process, "follower torque")
    took_s = time.monotonic() - asked_s
    said = process.communicate(timeout=GONE_WITHIN_S)[0]

    assert TorqueState.OFF in line
    assert took_s < OFF_AT_ONCE_S
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert bench.torque(twin.follower_port) == [0] * 6
    assert bench.left_since(before) == set()
    if name == "record":
        assert [path.suffix for path in (tmp_path / "journals").iterdir()] == [".part"]


@pytest.mark.parametrize("name", ["teleop", "record"])
def test_when_the_command_is_killed_the_arm_walks_to_rest_and_is_let_go(
    bench: Bench, twin: RunningTwin, tmp_path: Path, name: str
) -> None:
    before = bench.traces()
    process = start(bench, name, tmp_path)

    process.kill()
    process.communicate()

    assert wait_for(lambda: control_is_gone(bench))
    assert bench.torque(twin.follower_port) == [0] * 6
    assert is_at_rest(bench, twin)
    remove_dead_folders(bench.folder / "so101")  # as the next start does
    assert bench.left_since(before) == set()
    if name == "record":
        (part,) = list_journals(tmp_path / "journals", unfinished=True)
        assert not read_journal(part).is_complete


def test_a_dead_camera_ends_the_recording_after_the_arm_was_let_go(
    bench: Bench, twin: RunningTwin, tmp_path: Path
) -> None:
    with breakable(twin.camera) as (address, break_off):
        process = start(bench, "record", tmp_path, bench.write_rig("relayed", address))
        break_off()
        said = process.communicate(timeout=GONE_WITHIN_S)[0]

    assert process.returncode == 1, said
    assert "camera 'wrist'" in said.splitlines()[-1]
    assert said.index("stopping: camera 'wrist'") < said.index("walking to the rest pose")
    assert said.index("walking to the rest pose") < said.index("follower torque: off (read back)")
    assert bench.torque(twin.follower_port) == [0] * 6
    assert is_at_rest(bench, twin)
    (part,) = (tmp_path / "journals").iterdir()
    journal = read_journal(part)
    assert part.suffix == ".part"
    assert journal.events[-1].name == "failed"
    assert "camera 'wrist'" in str(journal.events[-1].detail["error"])
    assert f"stays as {part.name}" in said


def test_when_control_is_killed_the_guards_verdict_is_the_commands_last_line(
    bench: Bench, twin: RunningTwin, tmp_path: Path
) -> None:
    process = start(bench, "record", tmp_path)

    subprocess.run(["kill", "-KILL", str(bench.process_of("control_host"))], check=True)
    said = process.communicate(timeout=GONE_WITHIN_S)[0]

    assert process.returncode == 1, said
    assert "the control process ended (signal 9)" in said.splitlines()[-1]
    assert "follower torque" in said.splitlines()[-1]
    assert TorqueState.OFF in said.splitlines()[-1]
    assert bench.torque(twin.follower_port) == [0] * 6
    assert [path.suffix for path in (tmp_path / "journals").iterdir()] == [".part"]
