"""Let a policy drive the follower, in real time: on the twin, or on a real arm.

Before torque goes on the checkpoint is compared with the rig: cameras, joints, calibration, start
pose. Ctrl-C stops: the arm walks to its rest pose, then torque goes off, is read back, and is
shown; Ctrl-C again: torque goes off at once. With --yes and --duration-s nobody is asked anything.
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from deploy.checkpoint import Checkpoint, read_checkpoint
from deploy.plan_goals import PlanGoals
from deploy.plan_log import PlanStatistics
from deploy.policy_process import PolicyProcess
from deploy.preflight import check_cameras, check_rig
from deploy.results import EvaluationResult, save_result
from robot.errors import ConfigError
from robot.rig import load_rig
from robot.run_folder import open_run_folder
from scripts.driving import Driver
from scripts.instruction import choose_instruction
from scripts.output_place import refuse_unwritable
from scripts.rig_session import DEFAULT_RIG, Rig, open_rig
from scripts.rollouts import RolloutBench, RolloutPlan, RolloutRecord, run_rollouts
from scripts.stopping import StopRequest, stop_on_signals


@dataclass(frozen=True)
class Args:
    """What to run, and for how long."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """A training's output folder, one of its checkpoints, or a pretrained_model folder."""
    rig: Path = DEFAULT_RIG
    """Rig profile (TOML)."""
    duration_s: float = 20.0
    """Longest time of a rollout; on the twin it ends sooner when the task is done (0: until
    Ctrl-C)."""
    episodes: int = 1
    """How many rollouts."""
    seed: int = 90000
    """Seed of the first rollout: the policy's sampling, and on the twin the scene; the next ones
    count on."""
    record: Path | None = None
    """Folder for an episode journal of each rollout."""
    output: Path | None = None
    """Result file: outcome of each rollout, plan and loop timing."""
    task: str = ""
    """Instruction for policies that read one, and for the journals (default: the only one of the
    training data)."""
    dataset_root: Path | None = None
    """The policy's dataset, where the checkpoint does not lead to it."""
    accept_calibration: bool = False
    """Go on although the arm was calibrated anew since the data was recorded."""
    yes: bool = False
    """Ask nothing: start at once, and do not ask how a rollout on a real arm went."""


def main(args: Args) -> int:
    """Check, load, run, and say how it went."""
    console = Console()
    _check(args)
    checkpoint = read_checkpoint(args.checkpoint, dataset_root=args.dataset_root)
    args = replace(args, task=choose_instruction(args.task, checkpoint, args.dataset_root))
    profile = load_rig(args.rig)
    check_cameras(checkpoint, profile)
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        folder = stack.enter_context(open_run_folder(profile.name))
        planner = PolicyProcess.start(
            args.checkpoint, run_folder=folder.path, dataset_root=args.dataset_root, task=args.task
        )
        stack.callback(planner.close)
        rig = stack.enter_context(open_rig(args.rig))
        for note in check_rig(
            checkpoint,
            rig.profile,
            rig.calibration("follower"),
            is_other_calibration_accepted=args.accept_calibration,
        ):
            console.print(f"note: {note}", highlight=False)
        control = stack.enter_context(rig.open_control("session"))
        with console.status("loading the policy") as status:
            ready = planner.wait_ready(on_wait=_on_wait(status.update, stop))
        console.print(
            f"{checkpoint.policy_type}, {ready.chunk_steps} steps of {1e3 * ready.step_s:.0f} ms "
            f"a plan, {ready.execute_steps} executed, warm inference "
            f"{1e3 * ready.warmup_s[-1]:.0f} ms",
            highlight=False,
        )
        bench = RolloutBench(
            rig,
            Driver(control, stop, console),
            PlanGoals(
                planner=planner,
                cameras={name: rig.cameras[name] for name in checkpoint.cameras},
                rate_hz=rig.profile.control_rate_hz,
            ),
            checkpoint,
        )
        plan = RolloutPlan(
            episodes=args.episodes,
            duration_s=args.duration_s,
            seed=args.seed,
            task=args.task,
            record=args.record,
            is_attended=not args.yes,
        )
        record = RolloutRecord()
        try:
            run_rollouts(plan, bench, record)
        finally:
            statistics = bench.goals.log.statistics()
            _report(console, record, statistics)
            if args.output is not None and record.outcomes:
                save_result(_result(args, checkpoint, rig, record, statistics), args.output)
                console.print(f"written to {args.output}", highlight=False)
    return 0


def _on_wait(show: Callable[[str], None], stop: StopRequest) -> Callable[[float], None]:
    def on_wait(waited_s: float) -> None:
        if stop():
            raise KeyboardInterrupt
        show(f"loading the policy: {waited_s:.0f} s")

    return on_wait


def _report(console: Console, record: RolloutRecord, plans: PlanStatistics) -> None:
    """Print what the rollouts were like."""
    outcomes = record.outcomes
    successes = sum(outcome.outcome == "success" for outcome in outcomes)
    unmarked = sum(outcome.outcome == "unmarked" for outcome in outcomes)
    not_judged = f", {unmarked} not judged" if unmarked else ""
    console.print(f"{successes} of {len(outcomes)} rollouts succeeded{not_judged}", highlight=False)
    for name, figures, unit in (
        ("observation to plan", plans.observation_to_plan_ms, "ms"),
        ("inference", plans.inference_ms, "ms"),
        ("age of the plan's observation", plans.plan_age_ms, "ms"),
        ("picture age at observation", plans.image_age_ms, "ms"),
        ("joint difference at a switch", plans.switch_residual_deg, "°"),
    ):
        if figures is not None:
            console.print(
                f"{name}: p50 {figures.p50:.1f}, p99 {figures.p99:.1f}, max {figures.max:.1f} "
                f"{unit}",
                highlight=False,
            )
    for timing in record.timings:
        if timing.lateness_ms is not None:
            late = timing.lateness_ms
            console.print(
                f"loop: {timing.ticks} ticks, {timing.missed} missed, lateness p50 {late.p50:.2f}, "
                f"p99 {late.p99:.2f}, max {late.max:.1f} ms",
                highlight=False,
            )
    console.print(
        f"plans: {plans.plans} received, {plans.switches} used, {plans.starved_ticks} of "
        f"{plans.ticks} ticks held without a plan, {plans.stale_image_ticks} waited for a picture",
        highlight=False,
    )


def _result(
    args: Args,
    checkpoint: Checkpoint,
    rig: Rig,
    record: RolloutRecord,
    plans: PlanStatistics,
) -> EvaluationResult:
    return EvaluationResult(
        kind="policy",
        clock="real",
        rig=rig.profile.name,
        task=args.task or (rig.profile.twin.task if rig.profile.twin is not None else ""),
        checkpoint=str(checkpoint.path),
        policy_type=checkpoint.policy_type,
        weights_sha256=checkpoint.weights_sha256,
        dataset=checkpoint.dataset,
        control_rate_hz=rig.profile.control_rate_hz,
        policy_fps=checkpoint.fps,
        execute_steps=checkpoint.execute_steps,
        chunk_steps=checkpoint.chunk_steps,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        trials=record.outcomes,
        plan_statistics=[plans],
        timing=record.timings,
    )


def _check(args: Args) -> None:
    if args.episodes < 1:
        raise ConfigError(f"--episodes {args.episodes}: run at least one")
    if args.duration_s < 0:
        raise ConfigError(
            f"--duration-s {args.duration_s:g}: give seconds, or 0 to run until Ctrl-C"
        )
    for path, option in ((args.output, "--output"), (args.record, "--record")):
        if path is not None:
            refuse_unwritable(path, option)
    if not args.yes and not sys.stdin.isatty():
        raise ConfigError("there is no terminal to ask at: pass --yes to run unattended")
