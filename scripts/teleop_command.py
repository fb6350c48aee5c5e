"""Drive the follower with the leader arm, or with keys (--keys).

The follower starts slowly until it agrees with the leader. Ctrl-C stops: torque goes off, is read back, and is shown.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from robot.arm import Follower
from robot.errors import ConfigError
from robot.loop import GoalSource, Tick, run_control_loop
from scripts.rig_session import DEFAULT_RIG, Rig, open_rig
from scripts.stopping import stop_on_signals
from teleop.leader import LeaderGoals

STATUS_EVERY_TICKS = 100


@dataclass(frozen=True)
class Args:
    """How to drive."""

    rig: Path = DEFAULT_RIG
    """Rig profile (TOML)."""
    keys: bool = False
    """Jog the gripper with the keyboard instead of the leader (needs a display)."""
    duration_s: float = 0.0
    """Stop after this many seconds (0: until Ctrl-C)."""
    demonstrator: bool = False
    """Twin only: let the scripted demonstrator move the leader."""


class StatusLine:
    """Tell once a second how the loop keeps time; a tick listener."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._worst_ms = 0.0

    def on_tick(self, tick: Tick) -> None:
        """Note lateness and print now and then."""
        self._worst_ms = max(self._worst_ms, tick.lateness_s * 1000)
        if tick.index % STATUS_EVERY_TICKS == STATUS_EVERY_TICKS - 1:
            gap_deg = abs(tick.asked_deg - tick.observed.position_deg).max()
            self._console.print(
                f"tick {tick.index + 1}: worst lateness {self._worst_ms:.1f} ms, {tick.missed} missed, "
                f"largest gap {gap_deg:.1f}°",
                highlight=False,
            )
            self._worst_ms = 0.0


def main(args: Args) -> int:
    """Teleoperate until stopped."""
    console = Console()
    with stop_on_signals() as stop, open_rig(args.rig, with_cameras=False) as rig:
        if args.demonstrator:
            if rig.control is None:
                raise ConfigError("--demonstrator moves the twin's leader: leave it out on a real rig")
            rig.control.reset(0)
            rig.control.set_hand("leader", "demonstrator", 0)
        end_s = rig.clock.now_s() + args.duration_s
        with rig.open_follower() as follower:
            try:
                with open_source(rig, follower, use_keys=args.keys, console=console) as source:
                    follower.torque_on()
                    console.print("torque on: the follower moves slowly until it agrees. Ctrl-C stops.")
                    run_control_loop(
                        arm=follower,
                        source=source,
                        limiter=rig.new_limiter(follower),
                        listeners=[StatusLine(console)],
                        rate_hz=rig.profile.control_rate_hz,
                        clock=rig.clock,
                        should_stop=lambda: stop() or bool(args.duration_s and rig.clock.now_s() >= end_s),
                    )
            finally:
                follower.release()
                console.print(f"follower torque: {follower.torque_state}")
    return 0


@contextmanager
def open_source(rig: Rig, follower: Follower, *, use_keys: bool, console: Console) -> Iterator[GoalSource]:
    """Give the leader, or a keyboard jog that starts from where the follower stands."""
    if not use_keys:
        yield LeaderGoals(rig.open_leader())
        return
    from teleop.jog import JogGoals
    from teleop.keys import open_keys

    with open_keys() as keys:
        console.print(keys.legend)
        yield JogGoals(keys, rig.clock, follower.calibration)
