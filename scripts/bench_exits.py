"""`so101 bench exits`: what becomes of torque on every way out, beside LeRobot."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from benchmarks.contestants import Side
from benchmarks.exit_matrix import EVENTS, Outcome, markdown, run_event
from benchmarks.stored_frames import store_frames
from robot.errors import ConfigError


@dataclass(frozen=True)
class Args:
    """End commands of this project and of LeRobot in every way; print what torque did after it."""

    events: tuple[int, ...] = ()
    """Numbers of the events to run, in the order of the table (default: all)."""
    side: Literal["both", "ours", "lerobot"] = "both"
    """Whose commands."""


def main(args: Args) -> int:
    """Run them one after the other; 1 when this project left torque on where it need not."""
    unknown = [number for number in args.events if not 1 <= number <= len(EVENTS)]
    if unknown:
        raise ConfigError(f"--events {unknown[0]}: there are events 1 to {len(EVENTS)}")
    messages = Console(stderr=True)
    sides: tuple[Side, ...] = ("ours", "lerobot") if args.side == "both" else (args.side,)
    numbers = args.events or range(1, len(EVENTS) + 1)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="so101e-", ignore_cleanup_errors=True) as name:
        frames = Path(name) / "frames"
        store_frames(frames)
        for number in numbers:
            for side in sides:
                event = EVENTS[number - 1]
                with messages.status(f"{number} of {len(EVENTS)}: {event.name}, {side}"):
                    outcome = run_event(event, side, Path(name) / f"{number}-{side}", frames)
                outcomes.append(outcome)
                messages.print(f"{number}. {outcome}", highlight=False, soft_wrap=True)
    print(markdown(outcomes))
    is_safe = all(
        not any(outcome.torque) or "not reachable" in outcome.told
        for outcome in outcomes
        if outcome.side == "ours"
    )
    return 0 if is_safe else 1
