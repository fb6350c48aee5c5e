"""Drive the follower with the leader arm, or with keys (--keys).

The follower starts slowly until it agrees with the leader. Ctrl-C stops: torque goes off, is read
back, and is shown.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from robot.arm import Follower
from robot.clock import Clock
from robot.health import HealthMonitor
from robot.kinematics import ArmKinematics
from robot.loop import GoalSource, TickListener, run_control_loop
from scripts.jogging import JogConsole
from scripts.rig_session import DEFAULT_RIG, Rig, open_rig
from scripts.stopping import stop_on_signals
from scripts.teleop_view import TeleopView
from teleop.jog import JogGoals
from teleop.key_map import legend
from teleop.key_state import KeyState
from teleop.keys import open_keys
from teleop.leader import LeaderGoals


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
            control = rig.require_control("--demonstrator")
            control.reset(0)
            control.set_hand("leader", "demonstrator", 0)
        if keys is None:
            _ = rig.leader_bus  # both ports are there before anything is written to either arm
        follower = stack.enter_context(rig.open_follower())
        source, listeners, is_stopping = open_source(rig, follower, keys, console)
        is_time_up = TimeUp(rig.clock, args.duration_s)
        try:
            if stop():  # while everything was set up: then nothing is powered
                return 0
            follower.torque_on()
            console.print("torque on: the follower moves slowly until it agrees. Ctrl-C stops.")
            with TeleopView(console) as view:
                run_control_loop(
                    arm=follower,
                    source=source,
                    monitor=HealthMonitor(),
                    limiter=rig.new_limiter(follower),
                    listeners=[*listeners, view],
                    rate_hz=rig.profile.control_rate_hz,
                    clock=rig.clock,
                    should_stop=lambda: stop() or is_stopping() or is_time_up(),
                )
        finally:
            follower.release()
            console.print(f"follower torque: {follower.torque_state}")
        if keys is not None and keys.failure is not None:
            raise keys.failure
    return 0


def open_source(
    rig: Rig, follower: Follower, keys: KeyState | None, console: Console
) -> tuple[GoalSource, list[TickListener], Callable[[], bool]]:
    """Give the leader, or a keyboard jog that starts from where the follower stands."""
    if keys is None:
        return LeaderGoals(rig.open_leader()), [], lambda: False
    jog = JogGoals(keys, ArmKinematics(), follower.calibration.range_deg)
    watch = JogConsole(keys, jog, console)
    console.print(legend(), highlight=False)
    return jog, [jog, watch], lambda: watch.is_stopping
