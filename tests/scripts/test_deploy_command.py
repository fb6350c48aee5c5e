"""`so101 deploy` as a program on a twin's serial devices: it runs, and it ends well when it cannot.

The policy is untrained: what is shown is the way of its plans to the servos, and every way out.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.results import load_result
from record.journal_reader import read_journal
from robot.joints import JOINTS
from scripts import calibrate_command, deploy_command
from scripts.__main__ import main as run_command

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(300)]

CHECKOUT = Path(__file__).resolve().parents[2]
LOAD_S = 120.0  # importing torch on a busy machine; 5 s on an idle one
PROFILE = """
schema = 1
name = "rollout"
[leader]
port = "twin:leader"
id = "leader"
calibration_dir = "{folder}"
[follower]
port = "twin:follower"
id = "follower"
calibration_dir = "{folder}"
[cameras.wrist]
address = "twin:wrist"
width = 64
height = 48
fps = 30
[twin]
eeprom_file = "{folder}/eeprom.json"
"""


@dataclass(frozen=True)
class Bench:
    """A calibrated twin profile and an untrained policy."""

    folder: Path
    rig: Path
    checkpoint: Path

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start `so101 deploy` unattended."""
        command = [sys.executable, "-m", "scripts", "deploy", str(self.checkpoint), "--yes"]
        return subprocess.Popen(
            [*command, "--rig", str(self.rig), *words],
            cwd=CHECKOUT,
            env={**os.environ, "XDG_RUNTIME_DIR": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def processes(self) -> dict[int, str]:
        """Return the live processes of this bench with their command lines."""
        marker = f"XDG_RUNTIME_DIR={self.folder}\0".encode()
        found: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                is_dead = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
                if not is_dead and marker in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
        return found


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="so101d-"))  # short: a socket's address has 108 bytes
    rig = folder / "rig.toml"
    rig.write_text(PROFILE.format(folder=folder))
    calibrate_command.main(calibrate_command.Args(rig=rig, virtual=True))
    yield Bench(folder, rig, save_untrained(folder / "pretrained_model"))
    shutil.rmtree(folder, ignore_errors=True)


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
            "observation.images.wrist": PolicyFeature(FeatureType.VISUAL, (3, 48, 64)),
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


def wait_for_journal(bench: Bench, deploy: "subprocess.Popen[str]", journal: Path) -> int:
    """Wait until this journal is being written; returns the policy's process id."""
    part = journal.with_name(journal.name + ".part")
    deadline_s = time.monotonic() + LOAD_S
    while not part.exists():
        assert time.monotonic() < deadline_s, "the rollout never began"
        assert deploy.poll() is None, deploy.communicate()[0]
        time.sleep(0.1)
    (policy,) = (pid for pid, line in bench.processes().items() if "policy_worker" in line)
    return policy


def finish(deploy: "subprocess.Popen[str]") -> tuple[int, str]:
    said = deploy.communicate(timeout=LOAD_S)[0]
    return deploy.returncode, said


def test_when_the_policy_dies_the_rollouts_before_are_kept(bench: Bench, tmp_path: Path) -> None:
    output, journals = tmp_path / "result.json", tmp_path / "journals"
    words = ["--episodes", "3", "--duration-s", "1.5", "--output", str(output)]

    deploy = bench.start(*words, "--record", str(journals))
    os.kill(wait_for_journal(bench, deploy, journals / "episode_000001.mcap"), signal.SIGKILL)
    code, said = finish(deploy)

    assert code == 1, said
    assert "the policy process ended: signal 9" in said
    assert "follower torque: off (read back)" in said
    assert "0 of 1 rollouts succeeded" in said
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
    assert bench.processes() == {}
    assert list((bench.folder / "so101").iterdir()) == []


def test_an_interrupt_ends_the_rollout_with_torque_off(bench: Bench, tmp_path: Path) -> None:
    deploy = bench.start("--duration-s", "0", "--record", str(tmp_path))
    wait_for_journal(bench, deploy, tmp_path / "episode_000000.mcap")

    deploy.send_signal(signal.SIGINT)
    code, said = finish(deploy)

    assert code == 0, said
    assert "follower torque: off (read back)" in said
    assert "0 of 1 rollouts succeeded, 1 not judged" in said
    assert read_journal(tmp_path / "episode_000000.mcap").outcome == "unmarked"
    assert bench.processes() == {}
    assert list((bench.folder / "so101").iterdir()) == []


def test_without_a_terminal_it_must_be_told_to_ask_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy_command.Args(bench.checkpoint).yes is False
    with open(os.devnull) as nothing:
        kept, sys.stdin = sys.stdin, nothing
        try:
            code = run_command(["deploy", str(bench.checkpoint), "--rig", str(bench.rig)])
        finally:
            sys.stdin = kept

    assert code == 2
    assert "pass --yes to run unattended" in capsys.readouterr().err
