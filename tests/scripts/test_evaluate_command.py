"""`so101 evaluate` in virtual time: a policy that knows nothing, and a control that replays."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from deploy.checkpoint import Checkpoint
from deploy.evaluate import TrialStart
from deploy.results import load_result
from robot.errors import CalibrationMismatch, ConfigError
from scripts import calibrate_command, evaluate_command
from scripts.demonstrations import read_demonstrations
from scripts.trial_setups import ReplaySetup
from scripts.virtual_recording import record_virtually

pytestmark = pytest.mark.timeout(240)  # the first import of torch on a busy machine

PROFILE = """
schema = 1
name = "evaluation"
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
[twin]
eeprom_file = "{folder}/eeprom.json"
"""


@dataclass(frozen=True)
class Bench:
    """A calibrated virtual rig with one demonstration, and an untrained policy."""

    rig: Path
    journals: Path
    checkpoint: Path


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("evaluation")
    rig, journals = folder / "rig.toml", folder / "journals"
    rig.write_text(PROFILE.format(folder=folder))
    journals.mkdir()
    calibrate_command.main(calibrate_command.Args(rig=rig, virtual=True))
    record_virtually(
        rig=rig,
        folder=journals,
        task="pick up the red block",
        episodes=1,
        seed=3,
        workers=1,
        on_saved=lambda: None,
    )
    return Bench(rig, journals, save_untrained(folder / "pretrained_model"))


def save_untrained(folder: Path) -> Path:
    """Save this project's policy with random weights, by LeRobot's own calls."""
    import torch
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot_policy_so101 import So101FlowConfig
    from lerobot_policy_so101.modeling_so101_flow import So101FlowPolicy
    from lerobot_policy_so101.processor_so101_flow import make_so101_flow_pre_post_processors

    from deploy.checkpoint import JOINT_NAMES

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
    numbers = {"mean": 0.0, "std": 5.0, "min": -60.0, "max": 60.0}
    joints = {name: torch.full((6,), value) for name, value in numbers.items()}
    stats = {"observation.state": joints, "action": joints}
    So101FlowPolicy(config).save_pretrained(folder)
    for processor in make_so101_flow_pre_post_processors(config, stats):
        processor.save_pretrained(folder)
    sidecar = {"schema": 1, "fps": 30.0, "joint_names": JOINT_NAMES}
    (folder / "so101.json").write_text(json.dumps(sidecar))
    return folder


@pytest.fixture
def args(bench: Bench, tmp_path: Path) -> evaluate_command.Args:
    return evaluate_command.Args(
        checkpoint=bench.checkpoint,
        rig=bench.rig,
        trials=2,
        workers=1,
        training_journals=bench.journals,
        max_trial_s=1.0,
        output=tmp_path / "results.json",
    )


def test_policy_and_control_are_tried_from_the_same_new_starts(
    args: evaluate_command.Args, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_command.main(replace(args, control="nearest-replay")) == 0

    result = load_result(args.output)
    control = load_result(args.output.with_name("results-nearest-replay.json"))
    (demonstration,) = read_demonstrations(bench.journals)
    assert [trial.start for trial in result.trials] == [trial.start for trial in control.trials]
    for trial in result.trials:
        red_m = np.array([trial.start["red_x_m"], trial.start["red_y_m"]])
        assert np.linalg.norm(red_m - demonstration.red_m) > 0.005
        assert 0.9 < trial.duration_s < 1.1
    assert (result.kind, result.clock, result.policy_type) == ("policy", "virtual", "so101_flow")
    assert result.successes == 0  # it was never trained
    assert result.plan_statistics[0].switches >= 4
    assert result.training_starts == control.training_starts
    assert control.trials[0].notes["nearest_journal"] == "episode_000000.mcap"
    said = " ".join(capsys.readouterr().out.split())  # the console breaks lines
    assert "0 of 2 (0 %, 95 % interval 0 to 66 %)" in said


def test_the_result_depends_on_the_seed_alone(args: evaluate_command.Args) -> None:
    trials = []
    for seed in (1, 1, 2):
        evaluate_command.main(replace(args, seed=seed, max_trial_s=0.5))
        trials.append(load_result(args.output).trials)

    assert trials[0] == trials[1]
    assert trials[0] != trials[2]


def test_replaying_a_demonstration_where_it_was_made_succeeds(bench: Bench) -> None:
    (demonstration,) = read_demonstrations(bench.journals)

    with ReplaySetup(bench.rig, (demonstration,), max_trial_s=10.0)() as trials:
        outcome = trials.run(TrialStart(0, demonstration.start))

    assert outcome.outcome == "success"
    assert outcome.notes["nearest_distance_m"] == 0.0


def test_another_calibration_than_the_datas_is_refused(
    args: evaluate_command.Args, bench: Bench
) -> None:
    sidecar = bench.checkpoint / "so101.json"
    kept = sidecar.read_text()
    sidecar.write_text(json.dumps(json.loads(kept) | {"calibration_sha256": "f" * 64}))
    try:
        with pytest.raises(CalibrationMismatch, match="--accept-calibration"):
            evaluate_command.main(args)
        assert evaluate_command.main(replace(args, accept_calibration=True, max_trial_s=0.1)) == 0
    finally:
        sidecar.write_text(kept)


def test_the_policy_gets_the_instruction_it_was_trained_on(
    args: evaluate_command.Args, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deploy.policy_runner import PolicyRunner

    given: list[str] = []
    load = PolicyRunner.load

    def load_and_note(checkpoint: Checkpoint, *, task: str = "") -> PolicyRunner:
        given.append(task)
        return load(checkpoint, task=task)

    monkeypatch.setattr(PolicyRunner, "load", load_and_note)
    args = replace(args, trials=1, max_trial_s=0.1)
    training = bench.checkpoint / "so101_training.json"
    try:
        training.write_text('{"tasks": ["pick"]}')
        evaluate_command.main(args)
        assert load_result(args.output).task == "pick"
        training.write_text('{"tasks": ["pick", "stack"]}')
        with pytest.raises(ConfigError, match="name one with --task"):
            evaluate_command.main(args)
        evaluate_command.main(replace(args, task="stack"))
    finally:
        training.unlink()
    assert given == ["pick", "stack"]


def test_a_control_needs_the_training_journals(args: evaluate_command.Args) -> None:
    with pytest.raises(ConfigError, match="--control nearest-replay needs --training-journals"):
        evaluate_command.main(replace(args, control="nearest-replay", training_journals=None))


def test_a_folder_without_journals_is_named(args: evaluate_command.Args, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no finished journal"):
        evaluate_command.main(replace(args, training_journals=tmp_path))


def test_real_arms_are_not_evaluated_in_virtual_time(
    args: evaluate_command.Args, bench: Bench, tmp_path: Path
) -> None:
    rig = tmp_path / "real.toml"
    rig.write_text(bench.rig.read_text().partition("[twin]")[0])

    with pytest.raises(ConfigError, match="so101 deploy --episodes"):
        evaluate_command.main(replace(args, rig=rig))
