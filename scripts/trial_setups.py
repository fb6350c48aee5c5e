"""Trials in virtual time: the policy in a worker, a virtual rig for each trial.

Only `scripts` may join a policy, a recorded episode and the twin; that is what happens here.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.checkpoint import Checkpoint, read_checkpoint
from deploy.evaluate import TrialStart, nearest_index
from deploy.plan_goals import PlanGoals
from deploy.plan_log import PlanLog, PlanStatistics
from deploy.planner import ChunkPolicy, InlinePlanner
from deploy.results import TrialOutcome
from record.journal_reader import read_journal
from record.replay import ReplayGoals
from robot.arm import Follower
from robot.health import HealthMonitor
from robot.loop import GoalSource, run_control_loop
from scripts.demonstrations import Demonstration, red_position_m, start_numbers
from scripts.rig_session import Rig, open_rig
from sim.tasks.pick_red import TaskStart
from sim.twin_control import TwinStatus

SETTLE_S = 0.3  # between placing and torque: a picture of the new scene must have been taken


@dataclass(frozen=True)
class PolicySetup:
    """How to open trials of a checkpoint; calling it gives them. Travels to the workers."""

    rig: Path
    checkpoint: Path
    dataset_root: Path | None
    task: str  # the instruction
    latency_s: float
    max_trial_s: float

    @contextmanager
    def __call__(self) -> Generator["PolicyTrials"]:
        """Load the policy."""
        # Imported here: torch takes seconds, and whoever only hands out starts never needs it.
        from deploy.policy_runner import PolicyRunner

        checkpoint = read_checkpoint(self.checkpoint, dataset_root=self.dataset_root)
        yield PolicyTrials(self, checkpoint, PolicyRunner.load(checkpoint, task=self.task))


class PolicyTrials:
    """Rollouts of a policy, each on a virtual rig of its own: none depends on the one before."""

    def __init__(self, setup: PolicySetup, checkpoint: Checkpoint, policy: ChunkPolicy) -> None:
        self._setup = setup
        self._checkpoint = checkpoint
        self._policy = policy
        self._log = PlanLog()

    def run(self, start: TrialStart[TaskStart]) -> TrialOutcome:
        """Place the scene, let the policy try, and say how it ended."""
        setup = self._setup
        starved = self._log.starved_ticks
        with open_rig(setup.rig, virtual=True) as rig, rig.open_follower() as follower:
            goals = PlanGoals(
                planner=InlinePlanner(self._policy, latency_s=setup.latency_s),
                cameras={name: rig.cameras[name] for name in self._checkpoint.cameras},
                rate_hz=rig.profile.control_rate_hz,
                log=self._log,
            )
            goals.reset(start.seed)
            outcome = run_virtual_trial(rig, follower, goals, start, setup.max_trial_s)
        outcome.notes["starved_ticks"] = float(self._log.starved_ticks - starved)
        return outcome

    def statistics(self) -> PlanStatistics:
        """Return the plan timing of all rollouts."""
        return self._log.statistics()


@dataclass(frozen=True)
class ReplaySetup:
    """How to open the control: each start gets a replay of the nearest demonstration."""

    rig: Path
    demonstrations: tuple[Demonstration, ...]
    max_trial_s: float

    @contextmanager
    def __call__(self) -> Generator["ReplayTrials"]:
        """There is nothing to load."""
        yield ReplayTrials(self)


class ReplayTrials:
    """Replays of the nearest demonstration, each on a virtual rig of its own."""

    def __init__(self, setup: ReplaySetup) -> None:
        self._setup = setup

    def run(self, start: TrialStart[TaskStart]) -> TrialOutcome:
        """Replay what was done at the nearest training start."""
        setup = self._setup
        index, distance_m = nearest_index(
            red_position_m(start.start), [each.red_m for each in setup.demonstrations]
        )
        journal = read_journal(setup.demonstrations[index].journal)
        source = ReplayGoals.from_journal(journal)
        with (
            open_rig(setup.rig, virtual=True, with_cameras=False) as rig,
            rig.open_follower() as follower,
        ):
            outcome = run_virtual_trial(rig, follower, source, start, setup.max_trial_s)
        outcome.notes["nearest_distance_m"] = round(distance_m, 4)
        outcome.notes["nearest_journal"] = journal.path.name
        return outcome

    def statistics(self) -> None:
        """There are no plans."""
        return


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
    last = control.status()

    def should_stop() -> bool:
        nonlocal last
        last = control.status()
        return last.success or rig.clock.now_s() - began_s >= max_trial_s

    run_control_loop(
        arm=follower,
        source=source,
        monitor=HealthMonitor(),
        limiter=rig.new_limiter(follower),
        listeners=[],
        rate_hz=rig.profile.control_rate_hz,
        clock=rig.clock,
        should_stop=should_stop,
    )
    # As seen while the arm still held: the loop has released it since, and the block falls.
    return trial_outcome(start, last, last.time_s - began_s)


def trial_outcome(
    start: TrialStart[TaskStart], status: TwinStatus, duration_s: float
) -> TrialOutcome:
    """Judge a trial by how the twin's table stood at its end."""
    return TrialOutcome(
        seed=start.seed,
        start=start_numbers(start.start),
        outcome="success" if status.success else "failure",
        duration_s=round(duration_s, 3),
        notes={"red_height_m": round(status.red_height_m, 4)},
    )
