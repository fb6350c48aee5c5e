"""Rollouts of a policy in real time, one after another: scene, torque on, drive, rest, judge.

Nothing here prints but through the console it is given, and nothing is asked of a person unless
`is_attended`.
"""

import select
import sys
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from deploy.checkpoint import Checkpoint
from deploy.evaluate import TrialStart
from deploy.plan_goals import PlanGoals
from deploy.preflight import check_start
from deploy.results import Outcome, Timing, TrialOutcome
from record.episode import Event, Session, SessionPlan, State
from robot.errors import ConfigError
from robot.loop import Tick, TickListener
from scripts.driving import Driver
from scripts.operators import Scene
from scripts.recording import RecordingSession, new_paths, session_header
from scripts.rig_session import Rig
from scripts.rollout_watch import LoopTiming, RolloutEnd
from scripts.stopping import StopRequest
from scripts.trial_setups import trial_outcome
from scripts.twin_asker import StatusWatch, twin_asker
from sim.tasks.pick_red import TaskStart

ASK_TWIN_PERIOD_S = 0.2
EVENTS: dict[Outcome, Event] = {
    "success": Event.SUCCESS,
    "failure": Event.FAIL,
    "unmarked": Event.STOP,
}


@dataclass(frozen=True)
class RolloutPlan:
    """What to run."""

    episodes: int
    duration_s: float  # of the longest rollout; 0: until stopped
    seed: int  # of the first
    task: str
    record: Path | None
    is_attended: bool


@dataclass(frozen=True)
class RolloutBench:
    """What to run it on; opened and closed by the command."""

    rig: Rig
    driver: Driver
    goals: PlanGoals
    checkpoint: Checkpoint


@dataclass(frozen=True)
class RolloutRecord:
    """The rollouts so far, in order; one that was stopped is not judged."""

    outcomes: list[TrialOutcome] = field(default_factory=list[TrialOutcome])
    timings: list[Timing] = field(default_factory=list[Timing])


class RolloutOperator:
    """Begins a journal with the first tick of each rollout."""

    def __init__(self) -> None:
        self.scene: Scene | None = None

    def events(self, session: Session, tick: Tick) -> list[Event]:
        """Begin whenever nothing is being recorded."""
        return [Event.START] if session.state in (State.IDLE, State.RESET) else []


def run_rollouts(plan: RolloutPlan, bench: RolloutBench, record: RolloutRecord) -> None:
    """Run one rollout after another until all are done or somebody stops.

    `record` is filled as they end, so that an error loses only the rollout under way.
    """
    operator = RolloutOperator()
    session = None if plan.record is None else _recording(plan, plan.record, bench, operator)
    recorders: list[TickListener] = [] if session is None else [session]
    control = bench.rig.control
    stop = bench.driver.stop
    with session or nullcontext():
        for index in range(plan.episodes):
            title = f"rollout {index + 1} of {plan.episodes}"
            seed = plan.seed + index
            operator.scene = None if control is None else Scene(seed, control.reset(seed))
            if plan.is_attended:
                _ask(f"{title}: set the scene, then press Enter (Ctrl-C ends) ", stop)
            if stop():
                break
            timing = LoopTiming()
            start = TrialStart(seed, None if operator.scene is None else operator.scene.start)
            outcome = _roll_out(plan, bench, start, [timing, *recorders])
            if outcome is None:
                break
            record.outcomes.append(outcome)
            record.timings.append(timing.timing())
            if session is not None and session.session.state is State.RECORDING:
                session.apply(EVENTS[outcome.outcome], bench.rig.clock.now_s())
            bench.driver.say(f"{title}: {outcome.outcome} after {outcome.duration_s:.1f} s")


def _roll_out(
    plan: RolloutPlan,
    bench: RolloutBench,
    start: TrialStart[TaskStart | None],
    listeners: list[TickListener],
) -> TrialOutcome | None:
    """Drive to the end of one rollout and judge; None when somebody stopped before the torque."""
    driver = bench.driver
    bench.goals.reset(start.seed)
    pose = check_start(bench.checkpoint, driver.control.observe().position_deg)
    driver.say(pose.sentence)
    with ExitStack() as stack:
        watch: StatusWatch | None = None
        if bench.rig.control is not None:
            asker = stack.enter_context(twin_asker(bench.rig.control))
            watch = StatusWatch(bench.rig.control, asker, ASK_TWIN_PERIOD_S)
        end = RolloutEnd(bench.rig.clock, plan.duration_s, watch)
        if driver.stop():
            return None
        driver.drive(bench.goals, listeners, end)
        is_stopped = not end.is_over
        duration_s = end.elapsed_s()
    if watch is not None and watch.last is not None and start.start is not None:
        outcome = trial_outcome(TrialStart(start.seed, start.start), watch.last, duration_s)
        if is_stopped and not watch.last.success:
            outcome = msgspec.structs.replace(outcome, outcome="unmarked")
        return outcome
    said: Outcome = "unmarked"
    if plan.is_attended:
        answer = _ask("did it succeed? [y/N] ", driver.stop)
        if answer is not None:
            said = "success" if answer.strip().lower().startswith("y") else "failure"
    return TrialOutcome(start.seed, {}, said, round(duration_s, 3))


def _recording(
    plan: RolloutPlan, folder: Path, bench: RolloutBench, operator: RolloutOperator
) -> RecordingSession:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make {folder}: {error.strerror}; name another --record"
        ) from error
    return RecordingSession(
        bench.rig,
        SessionPlan(plan.episodes),
        operator,
        session_header(bench.rig, plan.task or "rollout of a policy", bench.driver.control.facts),
        new_paths(folder),
        bench.driver.console,
    )


def _ask(question: str, stop: StopRequest) -> str | None:
    """Return the line a person types; None when somebody stops the command instead."""
    print(question, end="", flush=True)
    while not stop():
        if select.select([sys.stdin], [], [], 0.2)[0]:
            answer = sys.stdin.readline()
            if not answer:
                raise ConfigError("nobody is there to answer: pass --yes to run unattended")
            return answer
    print()
    return None
