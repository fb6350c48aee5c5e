"""Trials on a virtual rig: opened once in a process, then placed, run and released per start.

Only `scripts` may join a policy, a recorded episode and the twin; that is what happens here.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from deploy.checkpoint import read_checkpoint
from deploy.evaluate import TrialStart, nearest_index
from deploy.plan_goals import PlanGoals, PlanStatistics
from deploy.planner import InlinePlanner
from deploy.preflight import check_rig
from deploy.results import TrialOutcome
from record.journal import list_journals
from record.journal_reader import read_journal
from record.replay import ReplayGoals
from robot.arm import Follower
from robot.errors import ConfigError
from robot.joints import FloatVector
from robot.loop import GoalSource, run_control_loop
from scripts.rig_session import Rig, open_rig
from sim.tasks.pick_red import TaskStart
from sim.twin_control import TwinControl

SETTLE_S = 0.3  # between placing and torque: a picture of the new scene must have been taken


@dataclass(frozen=True)
class PolicySetup:
    """How to open trials of a checkpoint; calling it gives them.

    Travels to the worker processes.
    """

    rig: Path
    checkpoint: Path
    dataset_root: Path | None
    latency_s: float
    max_trial_s: float
    is_other_calibration_accepted: bool = False

    @contextmanager
    def __call__(self) -> Generator["PolicyTrials"]:
        """Open a virtual rig and load the policy."""
        # Imported here: torch takes seconds, and the process that only hands out starts never needs
        # it.
        from deploy.policy_runner import PolicyRunner

        checkpoint = read_checkpoint(self.checkpoint, dataset_root=self.dataset_root)
        with open_rig(self.rig, virtual=True) as rig, rig.open_follower() as follower:
            check_rig(
                checkpoint,
                rig.profile,
                follower.calibration,
                is_other_calibration_accepted=self.is_other_calibration_accepted,
            )
            goals = PlanGoals(
                planner=InlinePlanner(PolicyRunner.load(checkpoint), latency_s=self.latency_s),
                cameras={name: rig.cameras[name] for name in checkpoint.cameras},
                rate_hz=rig.profile.control_rate_hz,
            )
            yield PolicyTrials(rig, follower, goals, self.max_trial_s)


class PolicyTrials:
    """Rollouts of a policy, one start after another."""

    def __init__(self, rig: Rig, follower: Follower, goals: PlanGoals, max_trial_s: float) -> None:
        self._rig = rig
        self._follower = follower
        self._goals = goals
        self._max_trial_s = max_trial_s

    def run(self, start: TrialStart[TaskStart]) -> TrialOutcome:
        """Place the scene, let the policy try, and say how it ended."""
        self._goals.reset(start.seed)
        starved = self._goals.starved_ticks
        outcome = run_virtual_trial(
            self._rig, self._follower, self._goals, start, self._max_trial_s
        )
        outcome.notes["starved_ticks"] = float(self._goals.starved_ticks - starved)
        return outcome

    def statistics(self) -> PlanStatistics:
        """Return the plan timing of all rollouts."""
        return self._goals.statistics()


@dataclass(frozen=True)
class ReplaySetup:
    """How to open the control: each start gets a replay of the nearest demonstration."""

    rig: Path
    demonstrations: tuple["Demonstration", ...]
    max_trial_s: float

    @contextmanager
    def __call__(self) -> Generator["ReplayTrials"]:
        """Open a virtual rig; it needs no cameras."""
        with (
            open_rig(self.rig, virtual=True, with_cameras=False) as rig,
            rig.open_follower() as follower,
        ):
            yield ReplayTrials(rig, follower, self.demonstrations, self.max_trial_s)


class ReplayTrials:
    """Replays of the nearest demonstration, one start after another."""

    def __init__(
        self,
        rig: Rig,
        follower: Follower,
        demonstrations: tuple["Demonstration", ...],
        max_trial_s: float,
    ) -> None:
        self._rig = rig
        self._follower = follower
        self._demonstrations = demonstrations
        self._max_trial_s = max_trial_s

    def run(self, start: TrialStart[TaskStart]) -> TrialOutcome:
        """Replay what was done at the nearest training start."""
        index, distance_m = nearest_index(
            red_position_m(start.start), [d.red_m for d in self._demonstrations]
        )
        journal = read_journal(self._demonstrations[index].journal)
        source = ReplayGoals.from_journal(journal)
        outcome = run_virtual_trial(self._rig, self._follower, source, start, self._max_trial_s)
        outcome.notes["nearest_distance_m"] = distance_m
        outcome.notes["nearest_journal"] = journal.path.name
        return outcome

    def statistics(self) -> None:
        """There are no plans."""
        return


@dataclass(frozen=True)
class Demonstration:
    """A training episode and where its red block stood."""

    journal: Path
    start: TaskStart

    @property
    def red_m(self) -> FloatVector:
        """Where the red block stood, shape (2,)."""
        return red_position_m(self.start)


def read_demonstrations(folder: Path) -> tuple[Demonstration, ...]:
    """Return the training episodes below a folder of journals, with their starts.

    Raises:
        ConfigError: no journal, or one that does not say where the blocks stood.
    """
    found: list[Demonstration] = []
    journals = (
        folder / "journals" if (folder / "journals").is_dir() else folder
    )  # so101 record's own layout
    if not journals.is_dir():
        raise ConfigError(
            f"there is no folder {journals}; name the folder that so101 record wrote to"
        )
    for path in list_journals(journals):
        header = read_journal(path).header
        if not header.task_start:
            raise ConfigError(
                f"{path} does not say where the blocks stood, so nearness to it cannot be judged; "
                "name a folder of journals recorded on the twin"
            )
        try:
            found.append(
                Demonstration(path, msgspec.json.decode(header.task_start, type=TaskStart))
            )
        except msgspec.DecodeError as error:
            raise ConfigError(
                f"{path}: its start is damaged or of another task: {error}; leave it out"
            ) from error
    if not found:
        raise ConfigError(
            f"there is no finished journal in {journals}; name the folder that so101 record wrote "
            "to"
        )
    return tuple(found)


def red_position_m(start: TaskStart) -> FloatVector:
    """Return where the red block stands, shape (2,), base frame."""
    return np.array([start.red.x_m, start.red.y_m])


def start_numbers(start: TaskStart) -> dict[str, float]:
    """Return the numbers of a start that the task's difficulty depends on."""
    numbers = {"red_x_m": start.red.x_m, "red_y_m": start.red.y_m, "red_yaw_rad": start.red.yaw_rad}
    for block in start.others:
        numbers[f"{block.colour}_x_m"] = block.x_m
        numbers[f"{block.colour}_y_m"] = block.y_m
    return numbers


def run_virtual_trial(
    rig: Rig,
    follower: Follower,
    source: GoalSource,
    start: TrialStart[TaskStart],
    max_trial_s: float,
) -> TrialOutcome:
    """Place the scene, run the loop until success or the time is up, release, judge."""
    control = rig.require_control("an evaluation in virtual time")
    control.place(start.start)
    rig.clock.sleep_until(rig.clock.now_s() + SETTLE_S)
    follower.torque_on()
    began_s = rig.clock.now_s()
    run_control_loop(
        arm=follower,
        source=source,
        limiter=rig.new_limiter(follower),
        listeners=[],
        rate_hz=rig.profile.control_rate_hz,
        clock=rig.clock,
        should_stop=lambda: control.status().success or rig.clock.now_s() - began_s >= max_trial_s,
    )
    return outcome_of(control, start, rig.clock.now_s() - began_s)


def outcome_of(
    control: TwinControl, start: TrialStart[TaskStart], duration_s: float
) -> TrialOutcome:
    """Read the end of a trial from the twin."""
    status = control.status()
    return TrialOutcome(
        seed=start.seed,
        start=start_numbers(start.start),
        outcome="success" if status.success else "failure",
        duration_s=round(duration_s, 3),
        notes={"red_height_m": round(status.red_height_m, 4)},
    )
