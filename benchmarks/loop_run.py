"""One row of the loop table: start a command, let it run, and time its goals at the follower.

The window begins a few seconds after the first goal, when start ramp and first allocations are
over, and ends before the command is told to stop. Everything timed comes from the emulator's
stamps.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.arms_messages import (
    ArmsLog,
    ArmsReady,
    AskTorque,
    Begin,
    Begun,
    CountGoals,
    Fidget,
    GoalCount,
    LetGo,
    Report,
    Torque,
)
from benchmarks.arrivals import Punctuality, ages_s, excess_s, lateness_s, punctuality, reactions_s
from benchmarks.camera_replay import ReplayReady
from benchmarks.child import Child, child_environment
from benchmarks.contestants import Activity, Contest, Place, Side, command
from benchmarks.machine import (
    MachineLoad,
    cost_between,
    cpu_times,
    load_between,
    process_costs,
)
from benchmarks.quantiles import Quantiles, quantiles
from robot.errors import NotConnected

FIRST_GOAL_S = 120.0  # importing lerobot, connecting
SETTLE_S = 4.0  # start ramp, first allocations, cameras
END_S = 30.0
_POLL_S = 0.2
_LOG_LINES = 15


class TailPoint(msgspec.Struct, frozen=True, array_like=True):
    """One point of a distribution's tail."""

    late_ms: float
    share: float  # so many are at least as late


class LoopRow(msgspec.Struct, frozen=True):
    """What one command did, seen from the servos."""

    side: Side
    activity: Activity
    rate_hz: float  # asked for
    is_fifo_refused: bool
    fifo: list[str]  # processes of the command that had real-time priority
    seconds: float
    punctuality: Punctuality
    reaction: Quantiles | None  # leader's register changes → last byte of the first goal after it
    age: Quantiles | None  # leader's sample → last byte of the goal
    cpu_ms_per_tick: dict[str, float]  # of each process of the command
    stored_mb_s: float  # by which the files of the command grew: that it recorded
    generators_share: dict[str, float]  # processor time of the load generators, of one core
    others_share: float  # of one core: all that is neither command nor generator
    pacing: Quantiles | None  # how much later than due the emulator's replies left
    load: MachineLoad
    ended: str  # how the command ended
    torque_after: list[int]  # follower's registers once it had ended
    lateness_tail: list[TailPoint]  # for the plot
    excess_tail: list[TailPoint]


@dataclass(frozen=True)
class Window:
    """What was seen while a command ran."""

    log: ArmsLog
    stored_bytes: int  # by which the files of the command grew
    commands_s: dict[str, float]
    fifo: list[str]
    cameras_s: float
    busy_s: float
    load: MachineLoad


def run_contest(
    contest: Contest, folder: Path, frames: Path, seconds: float, *, settle_s: float = SETTLE_S
) -> LoopRow:
    """Run one contestant for one window.

    Args:
        contest: who does what.
        folder: of this run; made.
        frames: where the cameras' pictures are stored.
        seconds: length of the window.
        settle_s: from the first goal to the window.

    Raises:
        NotConnected: the command ended by itself; the last lines it said are in the message.
    """
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        arms = stack.enter_context(Child("benchmarks.arms_process"))
        ready = arms.hear(ArmsReady)
        cameras: Child | None = None
        streams: ReplayReady | None = None
        if contest.is_recording:
            cameras = stack.enter_context(Child("benchmarks.camera_replay", str(frames)))
            streams = cameras.hear(ReplayReady)
        place = Place(folder, ready.leader, ready.follower, streams)
        running = stack.enter_context(started(contest, place))
        wait_for_goals(running, arms, folder)
        time.sleep(settle_s)
        window = _watch(running, arms, cameras, folder, seconds)
        ended = _stop(running, contest)
        torque = arms.ask(AskTorque(), Torque).follower
        arms.ask(LetGo(), Torque)
    return _row(contest, window, ended, torque)


@contextmanager
def started(contest: Contest, place: Place) -> "Generator[subprocess.Popen[bytes]]":
    """Start the command with a runtime folder of its own; it never outlives this."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job
        # The command would inherit it, and LeRobot would be deaf to Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with _runtime_folder() as runtime, (place.folder / "said.log").open("wb") as said:
        process = subprocess.Popen(
            command(contest, place),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=place.folder,
            env=child_environment(
                {
                    "XDG_RUNTIME_DIR": str(runtime),
                    "PYTHONUNBUFFERED": "1",
                    # So a command of this project knows whose step it is (scripts/steps.py) and
                    # ends with it; `lerobot_side` sees to that itself.
                    "SO101_STEP_OF": str(os.getpid()),
                }
            ),
            start_new_session=True,  # a terminal's Ctrl-C is for the benchmark alone
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextmanager
def _runtime_folder() -> Generator[Path]:
    """Make a private folder with a short path: sockets go into it."""
    with tempfile.TemporaryDirectory(prefix="so101b-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def wait_for_goals(running: "subprocess.Popen[bytes]", arms: Child, folder: Path) -> None:
    """Return when the first goal has come.

    Raises:
        NotConnected: the command ended, or none came in two minutes; with what it said last.
    """
    deadline_s = time.monotonic() + FIRST_GOAL_S
    while arms.ask(CountGoals(), GoalCount).goals == 0:
        _check_alive(running, folder)
        if time.monotonic() > deadline_s:
            raise NotConnected(f"no goal came within {FIRST_GOAL_S:g} s: {_tail(folder)}")
        time.sleep(_POLL_S)


def _watch(
    running: "subprocess.Popen[bytes]",
    arms: Child,
    cameras: Child | None,
    folder: Path,
    seconds: float,
) -> Window:
    """Note one window."""
    _check_alive(running, folder)
    arms.ask(Fidget(is_on=True), Begun)
    stored_before = stored_bytes(folder)
    before, machine = process_costs(running.pid), cpu_times()
    camera_costs = process_costs(cameras.pid) if cameras else {}
    arms.ask(Begin(), Begun)
    time.sleep(seconds)
    log = arms.ask(Report(), ArmsLog)
    after, machine_after = process_costs(running.pid), cpu_times()
    cameras_s = cost_between(camera_costs, process_costs(cameras.pid)) if cameras else {}
    arms.ask(Fidget(is_on=False), Begun)
    _check_alive(running, folder)
    load = load_between(machine, machine_after)
    elapsed_s = machine_after.total_s - machine.total_s
    busy_s = (load.busy_share - load.steal_share) * elapsed_s
    fifo = sorted({cost.name for cost in after.values() if cost.is_fifo})
    stored = stored_bytes(folder) - stored_before
    used_s = cost_between(before, after)
    return Window(log, stored, used_s, fifo, sum(cameras_s.values()), busy_s, load)


def _stop(running: "subprocess.Popen[bytes]", contest: Contest) -> str:
    """End the command as a person does; LeRobot's recorder is killed, it would encode for long."""
    number = signal.SIGKILL if contest.side == "lerobot" and contest.is_recording else signal.SIGINT
    running.send_signal(number)
    with contextlib.suppress(subprocess.TimeoutExpired):
        code = running.wait(END_S)
        return f"exit {code} after {number.name}"
    running.kill()
    running.wait()
    return f"killed {END_S:g} s after {number.name}"


def _row(contest: Contest, window: Window, ended: str, torque: list[int]) -> LoopRow:
    log = window.log
    seconds = log.ended_s - log.began_s
    times_s = [goal.time_s for goal in log.goals]
    period_s = 1.0 / contest.rate_hz
    generators_s = {"arms": log.cpu_s} | ({"cameras": window.cameras_s} if window.cameras_s else {})
    others_s = window.busy_s - sum(window.commands_s.values()) - sum(generators_s.values())
    return LoopRow(
        side=contest.side,
        activity=contest.activity,
        rate_hz=contest.rate_hz,
        is_fifo_refused=contest.is_fifo_refused,
        fifo=window.fifo,
        seconds=seconds,
        punctuality=punctuality(times_s, contest.rate_hz),
        reaction=quantiles(reactions_s(log.changes, log.goals)),
        age=quantiles(ages_s(log.leader_samples_s, log.goals)),
        cpu_ms_per_tick={
            name: 1000 * used_s / max(1, len(log.goals))
            for name, used_s in window.commands_s.items()
        },
        stored_mb_s=window.stored_bytes / 1e6 / seconds,
        generators_share={name: used_s / seconds for name, used_s in generators_s.items()},
        others_share=max(0.0, others_s / seconds),
        pacing=quantiles(log.pacing_s),
        load=window.load,
        ended=ended,
        torque_after=torque,
        lateness_tail=tail(lateness_s(times_s, period_s)[0].tolist()),
        excess_tail=tail(excess_s(times_s, period_s).tolist()),
    )


def stored_bytes(folder: Path) -> int:
    """Add up the files in a folder; those that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def tail(values_s: Sequence[float]) -> list[TailPoint]:
    """Return the largest values one by one, then ever fewer of the smaller ones."""
    falling = sorted(values_s, reverse=True)
    points: list[TailPoint] = []
    rank = 1
    while rank <= len(falling):
        points.append(TailPoint(1000 * falling[rank - 1], rank / len(falling)))
        rank = max(rank + 1, int(rank * 1.1))
    return points


def _check_alive(running: "subprocess.Popen[bytes]", folder: Path) -> None:
    if running.poll() is not None:
        raise NotConnected(f"the command ended with {running.returncode}: {_tail(folder)}")


def said_lines(folder: Path) -> list[str]:
    """Return what the command of this run has said."""
    return (folder / "said.log").read_text(errors="replace").splitlines()


def _tail(folder: Path) -> str:
    return "\n".join(said_lines(folder)[-_LOG_LINES:])
