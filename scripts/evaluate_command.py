"""Measure how often a policy succeeds: many starts on the digital twin, in virtual time.

Starts are drawn from the task's own distribution; with --training-journals none lies within 5 mm of
a training start, and --control nearest-replay also measures how far mere replaying gets. The result
carries a 95 % Wilson interval.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from deploy.checkpoint import read_checkpoint
from deploy.evaluate import TrialStart, draw_starts
from deploy.preflight import check_rig
from deploy.results import EvaluationResult, TrialOutcome, save_result
from deploy.trial_workers import run_trials
from robot.calibration_store import calibration_path, load_calibration
from robot.errors import ConfigError
from robot.rig import RigProfile, load_rig
from scripts.demonstrations import (
    Demonstration,
    read_demonstrations,
    red_position_m,
    start_numbers,
)
from scripts.follower_setup import configure_virtual_follower
from scripts.instruction import choose_instruction
from scripts.output_place import refuse_unwritable
from scripts.rig_session import DEFAULT_RIG
from scripts.trial_setups import PolicySetup, ReplaySetup
from sim.tasks.pick_red import TaskStart, sample_start

Control = Literal["none", "nearest-replay"]
OnTrial = Callable[[int, TrialOutcome], None]


@dataclass(frozen=True)
class Args:
    """What to evaluate, and how often."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """A training's output folder, one of its checkpoints, or a pretrained_model folder."""
    rig: Path = DEFAULT_RIG
    """Rig profile (TOML) with a twin."""
    trials: int = 50
    """How many starts to try."""
    seed: int = 90000
    """Seed of the list of starts: the same seed gives every policy the same starts."""
    workers: int = 2
    """Processes at once; the outcome does not depend on it."""
    training_journals: Path | None = None
    """Folder with the journals of the training episodes: starts keep their distance from theirs."""
    min_distance_mm: float = 5.0
    """How far a start keeps from every training start."""
    control: Control = "none"
    """Also replay the nearest training episode from each start (needs --training-journals)."""
    latency_ms: float = 30.0
    """Virtual time between an observation and its plan."""
    max_trial_s: float = 15.0
    """A trial that has not succeeded by then has failed."""
    task: str = ""
    """Instruction for policies that read one (default: the only one of the training data)."""
    dataset_root: Path | None = None
    """The policy's dataset, where the checkpoint does not lead to it."""
    accept_calibration: bool = False
    """Go on although the arm was calibrated anew since the data was recorded."""
    output: Path = Path("outputs/evaluation/results.json")
    """Result file; the control's goes beside it as *-nearest-replay.json."""


def main(args: Args) -> int:
    """Evaluate, print the result, write the files."""
    console = Console()
    _check(args)
    profile = load_rig(args.rig)
    checkpoint = read_checkpoint(args.checkpoint, dataset_root=args.dataset_root)
    args = replace(args, task=choose_instruction(args.task, checkpoint, args.dataset_root))
    for note in check_rig(
        checkpoint,
        profile,
        load_calibration(calibration_path(profile.follower, "follower")),
        is_other_calibration_accepted=args.accept_calibration,
    ):
        console.print(f"note: {note}", highlight=False)
    demonstrations = read_demonstrations(args.training_journals) if args.training_journals else ()
    configure_virtual_follower(args.rig)
    with trial_progress(console, "policy", args.trials) as on_trial:
        result = evaluate_policy(args, demonstrations, on_trial)
    save_result(result, args.output)
    console.print(f"success: {result.sentence}; written to {args.output}", highlight=False)
    if args.control == "nearest-replay":
        with trial_progress(
            console, "replay of the nearest demonstration", args.trials
        ) as on_trial:
            control = evaluate_replay(args, demonstrations, on_trial)
        path = args.output.with_name(f"{args.output.stem}-nearest-replay.json")
        save_result(control, path)
        console.print(
            f"control, replay of the nearest: {control.sentence}; written to {path}",
            highlight=False,
        )
    return 0


def evaluate_policy(
    args: Args, demonstrations: tuple[Demonstration, ...], on_trial: OnTrial | None = None
) -> EvaluationResult:
    """Run the policy from every start; the result is not written yet."""
    checkpoint = read_checkpoint(args.checkpoint, dataset_root=args.dataset_root)
    setup = PolicySetup(
        rig=args.rig,
        checkpoint=checkpoint.path,
        dataset_root=args.dataset_root,
        task=args.task,
        latency_s=args.latency_ms / 1e3,
        max_trial_s=args.max_trial_s,
    )
    starts = trial_starts(args, demonstrations)
    outcomes, statistics = run_trials(setup, starts, workers=args.workers, progress=on_trial)
    profile = load_rig(args.rig)
    return EvaluationResult(
        kind="policy",
        clock="virtual",
        rig=profile.name,
        task=args.task or _task(profile),
        checkpoint=str(checkpoint.path),
        policy_type=checkpoint.policy_type,
        weights_sha256=checkpoint.weights_sha256,
        dataset=checkpoint.dataset,
        control_rate_hz=profile.control_rate_hz,
        policy_fps=checkpoint.fps,
        execute_steps=checkpoint.execute_steps,
        chunk_steps=checkpoint.chunk_steps,
        latency_s=args.latency_ms / 1e3,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        trials=outcomes,
        training_starts=[start_numbers(demonstration.start) for demonstration in demonstrations],
        plan_statistics=statistics,
    )


def evaluate_replay(
    args: Args, demonstrations: tuple[Demonstration, ...], on_trial: OnTrial | None = None
) -> EvaluationResult:
    """Run the control from the same starts: replay of the nearest demonstration."""
    setup = ReplaySetup(args.rig, demonstrations, args.max_trial_s)
    starts = trial_starts(args, demonstrations)
    outcomes, _ = run_trials(setup, starts, workers=args.workers, progress=on_trial)
    profile = load_rig(args.rig)
    return EvaluationResult(
        kind="nearest-replay",
        clock="virtual",
        rig=profile.name,
        task=_task(profile),
        control_rate_hz=profile.control_rate_hz,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        trials=outcomes,
        training_starts=[start_numbers(demonstration.start) for demonstration in demonstrations],
    )


def trial_starts(
    args: Args, demonstrations: tuple[Demonstration, ...]
) -> list[TrialStart[TaskStart]]:
    """Draw the starts: the same for the policy and for the control."""
    return draw_starts(
        draw=sample_start,
        position_m=red_position_m,
        training_m=[demonstration.red_m for demonstration in demonstrations],
        count=args.trials,
        seed=args.seed,
        min_distance_m=args.min_distance_mm / 1e3,
    )


@contextmanager
def trial_progress(console: Console, title: str, trials: int) -> Generator[OnTrial]:
    """Show a bar over trials with the successes so far; gives the function to be told of each."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        shown = bar.add_task(f"{title}: loading", total=trials)
        successes = 0

        def on_trial(count: int, outcome: TrialOutcome) -> None:
            nonlocal successes
            successes += outcome.outcome == "success"
            text = f"{title}: {successes} of {count} succeeded"
            bar.update(shown, completed=count, description=text)

        yield on_trial


def _check(args: Args) -> None:
    if args.trials < 1 or args.workers < 1:
        raise ConfigError("--trials and --workers must be at least 1")
    refuse_unwritable(args.output, "--output")
    if args.control != "none" and args.training_journals is None:
        raise ConfigError(
            f"--control {args.control} needs --training-journals: the folder so101 record wrote to"
        )
    profile = load_rig(args.rig)
    if profile.twin is None:
        raise ConfigError(
            f"{args.rig} describes real arms; evaluate runs on a twin in virtual time. On a real "
            "arm use so101 deploy --episodes, which asks for each outcome"
        )


def _task(profile: RigProfile) -> str:
    return profile.twin.task if profile.twin is not None else ""
