"""`so101 deploy` as a program on a twin's serial devices: it runs, and it ends well when it cannot.

The policy is untrained: what is shown is the way of its plans to the servos, and every way out.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

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

from deploy.results import load_result
from record.journal_reader import read_journal
from robot.joints import JOINTS
from robot.run_folder import remove_dead_folders
from robot.torque import TorqueState
from scripts import deploy_command
from scripts.__main__ import main as run_command
from scripts.driving import HINT

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(300)]

LOAD_S = 120.0  # importing torch on a busy machine; 5 s on an idle one


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with calibrated_bench() as one:
        yield one


@pytest.fixture(scope="module")
def twin(bench: Bench) -> Iterator[RunningTwin]:
    with running_twin(bench) as one:
        yield one


@pytest.fixture(scope="module")
def checkpoint(bench: Bench) -> Path:
    return save_untrained(bench.folder / "pretrained_model")


def save_untrained(folder: Path) -> Path:
    import torch
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot_policy_so101 import So101FlowConfig
    from lerobot_policy_so101.modeling_so101_flow import So101FlowPolicy
    from lerobot_policy_so101.processor_so101_flow import make_so101_flow_pre_post_processors

    torch.manual_seed(0)
    config = So101FlowConfig(
        device="cpu",
        context_sizes=(16,),
        head_sizes=(16,),
        input_features={
            "observation.state": PolicyFeature(FeatureType.STATE, (6,)),
            "observation.images.wrist": PolicyFeature(FeatureType.VISUAL, (3, 120, 160)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (6,))},
    )
    numbers = {"mean": 10.0, "std": 5.0, "min": -90.0, "max": 100.0}
    joints = {name: torch.full((6,), value) for name, value in numbers.items()}
    stats = {"observation.state": joints, "action": joints}
    So101FlowPolicy(config).save_pretrained(folder)
    for processor in make_so101_flow_pre_post_processors(config, stats):
        processor.save_pretrained(folder)
    names = [f"{joint}.pos" for joint in JOINTS]
    sidecar = {"schema": 1, "fps": 30.0, "joint_names": names}
    (folder / "so101.json").write_text(json.dumps(sidecar))
    return folder


def start(
    bench: Bench, checkpoint: Path, *words: str, rig: Path | None = None
) -> "subprocess.Popen[str]":
    """Start `so101 deploy` unattended."""
    process: subprocess.Popen[str] = bench.command(
        "deploy", str(checkpoint), "--yes", *words, rig=rig
    )
    return process


def wait_for_journal(deploy: "subprocess.Popen[str]", journal: Path) -> None:
    """Wait until this journal is being written."""
    part = journal.with_name(journal.name + ".part")
    deadline_s = time.monotonic() + LOAD_S
    while not part.exists():
        assert time.monotonic() < deadline_s, "the rollout never began"
        assert deploy.poll() is None, deploy.communicate()[0]
        time.sleep(0.1)


def finish(deploy: "subprocess.Popen[str]") -> tuple[int, str]:
    said = deploy.communicate(timeout=GONE_WITHIN_S)[0]
    return deploy.returncode, said


def test_when_the_policy_dies_the_rollouts_before_are_kept(
    bench: Bench, twin: RunningTwin, checkpoint: Path, tmp_path: Path
) -> None:
    before = bench.traces()
    output, journals = tmp_path / "result.json", tmp_path / "journals"
    words = ["--episodes", "3", "--duration-s", "1.5", "--output", str(output)]

    deploy = start(bench, checkpoint, *words, "--record", str(journals))
    wait_for_journal(deploy, journals / "episode_000001.mcap")
    os.kill(bench.process_of("policy_worker"), signal.SIGKILL)
    code, said = finish(deploy)

    assert code == 1, said
    assert "the policy process ended: signal 9" in said
    assert f"follower torque: {TorqueState.OFF}" in said
    assert "0 of 1 rollouts succeeded" in said
    assert bench.torque(twin.follower_port) == [0] * 6
    result = load_result(output)
    assert (result.clock, len(result.trials), len(result.timing)) == ("real", 1, 1)
    assert result.plan_statistics[0].switches >= 1
    journal = read_journal(journals / "episode_000000.mcap")
    assert journal.outcome == "fail"
    assert journal.header.task_start
    assert len(journal.goals.time_s) > 30
    assert not (journals / "episode_000001.mcap").exists()
    assert "stays as episode_000001.mcap.part" in said
    assert read_journal(journals / "episode_000001.mcap.part").events[-1].name == "failed"
    assert bench.left_since(before) == set()


def test_a_signal_ends_the_rollout_at_rest_with_torque_off(
    bench: Bench, twin: RunningTwin, checkpoint: Path, tmp_path: Path
) -> None:
    """One of the five that tests/scripts/test_stopping.py and tests/test_stops.py go through."""
    before = bench.traces()
    deploy = start(bench, checkpoint, "--duration-s", "0", "--record", str(tmp_path))
    wait_for_journal(deploy, tmp_path / "episode_000000.mcap")

    deploy.send_signal(signal.SIGTERM)
    code, said = finish(deploy)

    assert code == 0, said
    assert HINT in said
    assert f"follower torque: {TorqueState.OFF}" in said
    assert "0 of 1 rollouts succeeded, 1 not judged" in said
    assert bench.torque(twin.follower_port) == [0] * 6
    journal = read_journal(tmp_path / "episode_000000.mcap")
    assert journal.outcome == "unmarked"
    names = [event.name for event in journal.events if event.name != "health"]
    assert names == ["start", "stop", "end"]
    assert bench.left_since(before) == set()


def test_a_second_signal_ends_the_rollout_at_once(
    bench: Bench, twin: RunningTwin, checkpoint: Path, tmp_path: Path
) -> None:
    before = bench.traces()
    deploy = start(bench, checkpoint, "--duration-s", "0", "--record", str(tmp_path))
    wait_for_journal(deploy, tmp_path / "episode_000000.mcap")

    deploy.send_signal(signal.SIGINT)
    read_until(deploy, HINT)
    deploy.send_signal(signal.SIGINT)
    code, said = finish(deploy)

    assert code == 130, said
    assert f"follower torque: {TorqueState.OFF}" in said
    assert bench.torque(twin.follower_port) == [0] * 6
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    assert bench.left_since(before) == set()


def test_when_it_is_killed_the_arm_is_let_go_and_the_policy_goes(
    bench: Bench, twin: RunningTwin, checkpoint: Path, tmp_path: Path
) -> None:
    before = bench.traces()
    deploy = start(bench, checkpoint, "--duration-s", "0", "--record", str(tmp_path))
    wait_for_journal(deploy, tmp_path / "episode_000000.mcap")

    deploy.kill()
    deploy.communicate()

    programs = ("control_host", "guard", "policy_worker")
    assert wait_for(
        lambda: not any(word in line for line in bench.processes().values() for word in programs)
    )
    assert bench.torque(twin.follower_port) == [0] * 6
    remove_dead_folders(bench.folder / "so101")  # as the next start does
    assert bench.left_since(before) == set()


def test_a_dead_camera_ends_the_rollout_after_the_arm_was_let_go(
    bench: Bench, twin: RunningTwin, checkpoint: Path, tmp_path: Path
) -> None:
    with breakable(twin.camera) as (address, break_off):
        rig = bench.write_rig("relayed", address)
        words = ["--duration-s", "0", "--record", str(tmp_path)]
        deploy = start(bench, checkpoint, *words, rig=rig)
        wait_for_journal(deploy, tmp_path / "episode_000000.mcap")
        break_off()
        code, said = finish(deploy)

    assert code == 1, said
    assert said.index("stopping: camera 'wrist'") < said.index("walking to the rest pose")
    assert "camera 'wrist'" in said.splitlines()[-1]
    assert f"follower torque: {TorqueState.OFF}" in said
    assert bench.torque(twin.follower_port) == [0] * 6
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]


def test_without_a_terminal_it_must_be_told_to_ask_nothing(
    bench: Bench, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy_command.Args(checkpoint).yes is False
    with open(os.devnull) as nothing:
        kept, sys.stdin = sys.stdin, nothing
        try:
            code = run_command(["deploy", str(checkpoint), "--rig", str(bench.rig)])
        finally:
            sys.stdin = kept

    assert code == 2
    assert "pass --yes to run unattended" in capsys.readouterr().err
