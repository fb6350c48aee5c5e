"""Drive the follower with the leader arm, or with keys (--keys).

The follower starts slowly until it agrees with the leader. Ctrl-C stops: the arm walks to its rest
pose, then torque goes off, is read back, and is shown; Ctrl-C again: torque goes off at once.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from robot.clock import Clock
from robot.kinematics import ArmKinematics
from robot.loop import GoalSource, TickListener
from robot.messages import Facts
from scripts.driving import Driver
from scripts.jogging import JogConsole
from scripts.rig_session import DEFAULT_RIG, open_rig
from scripts.stopping import stop_on_signals
from scripts.teleop_view import TeleopView
from teleop.jog import JogGoals
from teleop.key_map import legend
from teleop.key_state import KeyState
from teleop.keys import open_keys


@dataclass(frozen=True)
class Args:
    """How to drive."""

    rig: Path = DEFAULT_RIG
    """Rig profile (TOML)."""
    keys: bool = False
    """Jog the gripper with the keyboard instead of the leader (needs a display)."""
    duration_s: float = 0.0
    """Stop after the arm has been driven for this many seconds (0: until Ctrl-C)."""
    demonstrator: bool = False
    """Twin only: let the scripted demonstrator move the leader."""


class TimeUp:
    """Whether the time given is over; it begins when the loop first asks."""

    def __init__(self, clock: Clock, duration_s: float) -> None:
        self._clock = clock
        self._duration_s = duration_s or float("inf")
        self._end_s: float | None = None

    def __call__(self) -> bool:
        """Tell the control loop."""
        now_s = self._clock.now_s()
        if self._end_s is None:
            self._end_s = now_s + self._duration_s
        return now_s >= self._end_s


def main(args: Args) -> int:
    """Teleoperate until stopped."""
    console = Console()
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        # Before any port: without a display the command ends here, and no motor was powered.
        keys = stack.enter_context(open_keys()) if args.keys else None
        rig = stack.enter_context(open_rig(args.rig, with_cameras=False))
        if args.demonstrator:
            twin = rig.require_control("--demonstrator")
            twin.reset(0)
            twin.set_hand("leader", "demonstrator", 0)
        control = stack.enter_context(rig.open_control("leader" if keys is None else "session"))
        for line in control.facts.realtime:
            console.print(line, highlight=False)
        source, listeners, is_stopping = open_source(keys, control.facts, console)
        is_time_up = TimeUp(rig.clock, args.duration_s)
        view = TeleopView(console)
        Driver(control, stop, console).drive(
            source, [*listeners, view], lambda: is_stopping() or is_time_up(), view
        )
        if keys is not None and keys.failure is not None:
            raise keys.failure
    return 0


def open_source(
    keys: KeyState | None, facts: Facts, console: Console
) -> tuple[GoalSource | None, list[TickListener], Callable[[], bool]]:
    """Give None for the leader, or a keyboard jog that starts from where the follower stands."""
    if keys is None:
        return None, [], lambda: False
    jog = JogGoals(keys, ArmKinematics(), (facts.low_deg, facts.high_deg))
    watch = JogConsole(keys, jog, console)
    console.print(legend(), highlight=False)
    return jog, [jog, watch], lambda: watch.is_stopping
