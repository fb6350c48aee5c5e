"""Every way out of a command: an arm's torque off, read back, and nothing left behind.

Nothing is: no process, pty, local socket, listening port, run folder or shared memory.
"""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_bench import (
    GONE_WITHIN_S,
    START_S,
    Bench,
    RunningTwin,
    calibrated_bench,
    read_until,
    running_twin,
    wait_for,
)

from robot.torque import TorqueState

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with calibrated_bench() as one:
        yield one


@pytest.fixture
def twin(bench: Bench) -> Iterator[RunningTwin]:
    with running_twin(bench) as one:
        yield one


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_twin_that_a_command_started_lives_until_the_arm_is_let_go(
    bench: Bench, number: signal.Signals
) -> None:
    """Also when the command is killed: the control process holds the twin's lifeline too."""
    process = bench.command("teleop", "--demonstrator")
    read_until(process, "tick ")
    during = bench.traces()
    log = next((bench.folder / "so101").glob("*/control.log"))
    kept = log.open()  # the folder goes with the run
    assert any(trace.startswith("listening") for trace in during)
    assert any(trace.startswith("/dev/pt") for trace in during)

    process.send_signal(number)
    process.communicate()

    assert wait_for(lambda: not bench.processes())
    assert not any(trace.startswith(("listening", "/dev/pt")) for trace in bench.traces())
    released = [line for line in kept if '"event":"released"' in line]
    assert TorqueState.OFF in released[-1]
    assert "not reachable" not in released[-1]
    kept.close()


def test_a_command_told_to_stop_during_set_up_powers_nothing_and_leaves_nothing(
    bench: Bench,
) -> None:
    before = bench.traces()
    process = bench.command("teleop")
    assert wait_for(
        lambda: any("control_host" in line for line in bench.processes().values()), START_S
    )

    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=START_S)[0]

    assert process.returncode == 0, said
    assert f"follower torque: {TorqueState.OFF}" in said
    assert "tick " not in said
    assert bench.left_since(before) == set()


def record_virtually(bench: Bench, output: Path) -> "subprocess.Popen[str]":
    """Start a long virtual recording; returns when both workers are in an episode."""
    words = ["--demonstrator", "--virtual", "--workers", "2", "--episodes", "500", "--no-export"]
    process: subprocess.Popen[str] = bench.command("record", "--output", str(output), *words)
    assert wait_for(lambda: len(list(output.glob("journals/*.part"))) == 2, START_S)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_virtual_recording_ends_with_its_workers(
    bench: Bench, tmp_path: Path, number: signal.Signals
) -> None:
    before = bench.traces()
    process = record_virtually(bench, tmp_path)
    assert len(bench.processes()) >= 3

    process.send_signal(number)
    process.communicate(timeout=GONE_WITHIN_S)

    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert bench.left_since(before) == set()


@pytest.fixture(scope="module")
def dataset(bench: Bench) -> Path:
    """Record two demonstrations and derive the dataset."""
    words = ["--demonstrator", "--virtual", "--workers", "1", "--episodes", "2"]
    recording = bench.command("record", "--output", "short", *words)
    said = recording.communicate(timeout=START_S)[0]
    assert recording.returncode == 0, said
    return Path(bench.folder, "short", "dataset")


@pytest.fixture(scope="module")
def interrupted_training(bench: Bench, dataset: Path) -> tuple[Path, int, str, set[str]]:
    """Begin a training, then TERM: output folder, exit code, last words and what is left."""
    output = bench.folder / "train"
    before = bench.traces()
    words = ["--steps", "100000", "--batch-size", "8", "--threads", "1"]
    training = bench.bare_command("train", str(dataset), "--output", str(output), *words)
    assert wait_for((output / "train_log.jsonl").exists, START_S)
    training.terminate()
    said = training.communicate(timeout=GONE_WITHIN_S)[0]
    return output, training.returncode, said, bench.left_since(before)


def test_a_training_that_is_asked_to_stop_leaves_a_checkpoint_and_nothing_else(
    interrupted_training: tuple[Path, int, str, set[str]],
) -> None:
    output, code, said, left = interrupted_training

    assert code == 130, said
    assert "--resume" in said
    assert (output / "checkpoints" / "last" / "pretrained_model" / "model.safetensors").is_file()
    assert left == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_evaluation_ends_with_its_workers(
    bench: Bench,
    interrupted_training: tuple[Path, int, str, set[str]],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    before = bench.traces()
    words = ["--trials", "500", "--output", str(tmp_path / "results.json")]
    process = bench.command("evaluate", str(interrupted_training[0]), *words)
    assert wait_for(lambda: len(bench.traces() - before) >= 3, START_S)

    process.send_signal(number)
    process.communicate(timeout=GONE_WITHIN_S)

    assert bench.left_since(before) == set()
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_step_releases_its_arm_when_its_starter_goes(
    bench: Bench, twin: RunningTwin, number: signal.Signals, code: int
) -> None:
    before = bench.traces()
    program = "import sys; from scripts.steps import run_step; sys.exit(run_step(sys.argv[1:]))"
    starter = bench.start("-c", program, "teleop", "--demonstrator", "--rig", str(bench.rig))
    read_until(starter, "tick ")

    starter.send_signal(number)
    said = starter.communicate(timeout=GONE_WITHIN_S)[0]  # the step's words too: until it is gone

    assert starter.returncode == code, said
    assert f"follower torque: {TorqueState.OFF}" in said
    assert bench.torque(twin.follower_port) == [0] * 6
    assert bench.left_since(before) == set()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGHUP, 130), (signal.SIGKILL, -9)],
)
def test_a_demo_ends_with_its_step(
    bench: Bench, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    before = bench.traces()
    demo = bench.bare_command("demo", "--quick", "--output", str(tmp_path / "demo"))
    assert wait_for(lambda: len(bench.processes()) >= 2, START_S)
    if number == signal.SIGKILL:  # deeper: the workers of its second step
        journals = tmp_path / "demo" / "data" / "journals"
        assert wait_for(lambda: any(journals.glob("*.part")), START_S)

    demo.send_signal(number)
    said = demo.communicate(timeout=GONE_WITHIN_S)[0]

    assert demo.returncode == code, said
    assert bench.left_since(before) == set()
