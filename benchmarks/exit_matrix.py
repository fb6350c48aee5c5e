"""Every way out of a command, this project's beside LeRobot's: is torque off afterwards?

Runs both sides' own commands on emulated arms, lets one thing happen, and reads the torque
registers from the emulated servos, not from what the program says. `so101 bench exits` prints the
table of docs/safety.md.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arms_messages import AddFault, ArmsReady, AskTorque, Begun, Torque
from benchmarks.camera_replay import ReplayReady
from benchmarks.child import Child
from benchmarks.contestants import OUR_HZ, Contest, Place, Side
from benchmarks.loop_run import said_lines, started, wait_for_goals
from benchmarks.machine import process_costs

RUNS_S = 3.0  # the loop stands before anything happens
DURATION_S = 4.0
OFF_WITHIN_S = 12.0  # the walk to rest takes three seconds; afterwards nothing changes any more
GONE_WITHIN_S = 40.0  # this project looks for a pulled adapter for half a minute
LEROBOT_HZ = 30.0
# What this project's commands and its guard say at the end.
TOLD = re.compile(r"follower torque[^:]*: (.+)")


@dataclass(frozen=True)
class Scene:
    """What an event can act on."""

    command: "subprocess.Popen[bytes]"
    arms: Child
    cameras: Child | None
    side: Side


@dataclass(frozen=True)
class Event:
    """One thing that happens to a running command."""

    name: str
    happen: Callable[[Scene], None]
    is_recording: bool = False
    is_timed: bool = False  # the command is told to end by itself after DURATION_S


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    event: str
    side: Side
    torque: Sequence[int]  # follower's registers, ids 1 to 6
    off_after_s: float | None  # until all six were off; None: they were not
    ended: str
    told: str  # what the person was told about torque at the end; empty: nothing


def _signals(*numbers: signal.Signals, pause_s: float = 0.3) -> Callable[[Scene], None]:
    def send(scene: Scene) -> None:
        for index, number in enumerate(numbers):
            if index:
                time.sleep(pause_s)
            with contextlib.suppress(ProcessLookupError):
                scene.command.send_signal(number)

    return send


def _fault_then(text: str, *numbers: signal.Signals) -> Callable[[Scene], None]:
    def happen(scene: Scene) -> None:
        scene.arms.ask(AddFault(text), Begun)
        if numbers:
            time.sleep(1.0)
            _signals(*numbers)(scene)

    return happen


def _lose_camera(scene: Scene) -> None:
    assert scene.cameras is not None
    scene.cameras.close()


def _report_camera(scene: Scene) -> None:
    """Let LeRobot's camera report what an unplugged one reports; ours has only its stream."""
    if scene.side == "lerobot":
        scene.command.send_signal(signal.SIGUSR1)
    else:
        _lose_camera(scene)


def _kill_port_holder(scene: Scene) -> None:
    """Kill the process that owns the serial ports: the control process, or LeRobot's one."""
    family = process_costs(scene.command.pid)
    holders = [pid for pid, cost in family.items() if cost.name.endswith("control_host")]
    os.kill(holders[0] if holders else scene.command.pid, signal.SIGKILL)


EVENTS = (
    Event("duration reached", lambda _: None, is_timed=True),
    Event("Ctrl-C", _signals(signal.SIGINT)),
    Event("Ctrl-C twice", _signals(signal.SIGINT, signal.SIGINT)),
    Event("the leader's USB is pulled", _fault_then("unplug arm=leader")),
    Event(
        "Ctrl-C while servo 2 reports overload",
        _fault_then("error servo=2 error_bits=32", signal.SIGINT),
    ),
    Event("SIGTERM", _signals(signal.SIGTERM)),
    Event("SIGHUP", _signals(signal.SIGHUP)),
    Event("SIGKILL", _signals(signal.SIGKILL)),
    Event("SIGKILL of the process that holds the ports", _kill_port_holder),
    Event("the follower's USB is pulled", _fault_then("unplug")),
    Event("a camera's stream ends", _lose_camera, is_recording=True),
    Event("a camera reports not connected", _report_camera, is_recording=True),
)


def run_event(event: Event, side: Side, folder: Path, frames: Path) -> Outcome:
    """Run one command, let one thing happen, look at the servos.

    Args:
        event: what happens.
        side: whose command.
        folder: of this run; made.
        frames: where the cameras' pictures are stored.

    Raises:
        NotConnected: the command did not get as far as driving.
    """
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        arms = stack.enter_context(Child("benchmarks.arms_process"))
        ready = arms.hear(ArmsReady)
        cameras: Child | None = None
        streams: ReplayReady | None = None
        if event.is_recording:
            cameras = stack.enter_context(Child("benchmarks.camera_replay", str(frames)))
            streams = cameras.hear(ReplayReady)
        # LeRobot's teleoperation with cameras: its recorder would encode for minutes at the end.
        is_recorder = event.is_recording and side == "ours"
        contest = Contest(
            side,
            "recording" if is_recorder else "teleop",
            OUR_HZ if side == "ours" else LEROBOT_HZ,
            duration_s=DURATION_S if event.is_timed else None,
        )
        place = Place(folder, ready.leader, ready.follower, streams)
        command = stack.enter_context(started(contest, place))
        wait_for_goals(command, arms, folder)
        family = list(process_costs(command.pid))
        stack.callback(_end_all, family)
        if event.is_timed:
            time.sleep(DURATION_S)
        else:
            time.sleep(RUNS_S)
        began_s = time.monotonic()
        event.happen(Scene(command, arms, cameras, side))
        off_after_s = _wait_until_off(arms, began_s)
        ended = _wait_until_gone(command)
        torque = arms.ask(AskTorque(), Torque).follower
    return Outcome(event.name, side, torque, off_after_s, ended, _told(folder))


def _wait_until_off(arms: Child, began_s: float) -> float | None:
    """Return how long the follower's torque took to go; None when it stayed."""
    while time.monotonic() - began_s < OFF_WITHIN_S:
        if not any(arms.ask(AskTorque(), Torque).follower):
            return time.monotonic() - began_s
        time.sleep(0.05)
    return None


def _wait_until_gone(command: "subprocess.Popen[bytes]") -> str:
    try:
        return f"exit {command.wait(GONE_WITHIN_S)}"
    except subprocess.TimeoutExpired:
        return f"still running {GONE_WITHIN_S:g} s later"


def _end_all(family: Sequence[int]) -> None:
    """Leave nothing of a run behind, whatever it was."""
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _told(folder: Path) -> str:
    told = [match[1] for line in said_lines(folder) if (match := TOLD.search(line))]
    return told[-1] if told else ""


def markdown(outcomes: Sequence[Outcome]) -> str:
    """Return the table: an event a row, a side a column."""
    by_key = {(outcome.event, outcome.side): outcome for outcome in outcomes}
    lines = [
        "| event | this project: torque of servos 1 to 6 | off after | told | "
        "LeRobot: torque of servos 1 to 6 | off after | told |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(outcome.event for outcome in outcomes):
        cells = [name]
        for side in ("ours", "lerobot"):
            outcome = by_key.get((name, side))
            cells += ["not run", "", ""] if outcome is None else _cells(outcome)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(outcome: Outcome) -> list[str]:
    torque = " ".join(map(str, outcome.torque))
    shown = f"**{torque}**" if any(outcome.torque) else torque
    off = "never" if outcome.off_after_s is None else f"{outcome.off_after_s:.1f} s"
    return [shown, off, outcome.told or "nothing"]
