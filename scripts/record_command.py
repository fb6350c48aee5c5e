"""Record demonstrations: the leader drives the follower, and every episode becomes a journal.

The journals become a LeRobot dataset. Keys while recording: → or n begins and ends an episode, s /
f end it marked as success / failure, ← or r discards, Esc or q finishes. On the twin --demonstrator
lets a script move the leader; --virtual does it as fast as the processor allows.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from record.episode import SessionPlan
from record.terminal_keys import HELP, TerminalKeys
from robot.errors import ConfigError
from robot.rig import load_rig
from scripts.driving import Driver
from scripts.operators import KeyOperator, Operator, TimedOperator, TwinOperator
from scripts.output_place import refuse_unwritable
from scripts.recording import RecordingSession, first_number, new_paths, session_header
from scripts.rig_session import DEFAULT_RIG, open_rig
from scripts.steps import run_step
from scripts.stopping import stop_on_signals
from scripts.twin_asker import twin_asker
from scripts.virtual_recording import record_virtually


@dataclass(frozen=True)
class Args:
    """What to record."""

    output: Path
    """Folder for the session: journals/ and dataset/ are made in it; recording again appends."""
    rig: Path = DEFAULT_RIG
    """Rig profile (TOML)."""
    task: str = "pick up the red block"
    """Instruction stored with every episode."""
    episodes: int = 10
    """How many episodes to keep."""
    episode_s: float = float("inf")
    """End an episode after this many seconds (default: a key ends it)."""
    reset_s: float = float("inf")
    """Begin the next episode after this many seconds (default: a key begins it)."""
    unattended: bool = False
    """Nobody at the keys: --episode-s and --reset-s say when episodes end and begin."""
    demonstrator: bool = False
    """Twin only: a scripted demonstrator moves the leader; failed tries are repeated."""
    virtual: bool = False
    """Twin only, with --demonstrator: virtual time, as fast as the processor allows."""
    workers: int = 2
    """Processes for --virtual; the result does not depend on it."""
    seed: int = 0
    """First seed of the demonstrator's scenes."""
    export: bool = True
    """Derive the dataset when the session ends (so101 export does it later otherwise)."""


def main(args: Args) -> int:
    """Record, then export."""
    console = Console()
    journals = args.output / "journals"
    _check(args)
    try:
        journals.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make {journals}: {error.strerror}; name another --output"
        ) from error
    if args.virtual:
        columns = (
            TextColumn("demonstrating"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            shown = bar.add_task("record", total=args.episodes)
            saved, failed = record_virtually(
                rig=args.rig,
                folder=journals,
                task=args.task,
                episodes=args.episodes,
                seed=args.seed,
                workers=args.workers,
                on_saved=lambda: bar.advance(shown),
            )
        console.print(f"{saved} demonstrations saved in {journals}, {failed} failed tries repeated")
    else:
        saved = record_attended(args, journals, console)
    if args.export and saved:
        return export(args, journals)
    return 0


def record_attended(args: Args, journals: Path, console: Console) -> int:
    """Record in real time; returns the number of episodes saved."""
    plan = SessionPlan(
        args.episodes, args.episode_s, args.reset_s if not args.demonstrator else float("inf")
    )
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        rig = stack.enter_context(open_rig(args.rig))
        twin = rig.require_control("--demonstrator") if args.demonstrator else None
        control = stack.enter_context(rig.open_control("leader"))
        operator: Operator
        if twin is not None:
            operator = TwinOperator(
                twin,
                stack.enter_context(twin_asker(twin)),
                control,
                rig.clock,
                seeds_from(args.seed, first_number(journals)),
            )
        elif args.unattended:
            operator = TimedOperator()
        else:
            operator = KeyOperator(stack.enter_context(TerminalKeys()))
            console.print(HELP, highlight=False)
        session = RecordingSession(
            rig,
            plan,
            operator,
            session_header(rig, args.task, control.facts),
            new_paths(journals),
            console,
        )
        with session:
            Driver(control, stop, console).drive(None, [session], lambda: session.is_done)
    return len(session.saved_paths)


def seeds_from(seed: int, first_number: int) -> Callable[[int, int], int]:
    """Return the seed of each try of a session that begins with this episode number.

    Episodes lie a thousand apart, so that tries never meet; a later session into the same folder
    counts on, as in virtual time.
    """
    return lambda saved, attempt: seed + 1000 * (first_number + saved) + attempt


def export(args: Args, journals: Path) -> int:
    """Derive the dataset in a process of its own; its encoders lower their priority themselves."""
    fps = str(load_rig(args.rig).dataset_fps)
    dataset = str(args.output / "dataset")
    return run_step(["export", str(journals), "--output", dataset, "--fps", fps])


def _check(args: Args) -> None:
    if args.virtual and not args.demonstrator:
        raise ConfigError("--virtual needs --demonstrator: no person is as fast as virtual time")
    if args.unattended and (args.episode_s == float("inf") or args.reset_s == float("inf")):
        raise ConfigError(
            "--unattended needs --episode-s and --reset-s: nobody is there to press a key"
        )
    if args.episodes < 1:
        raise ConfigError(f"--episodes {args.episodes}: record at least one")
    if args.workers < 1:
        raise ConfigError(f"--workers {args.workers}: at least one process has to record")
    refuse_unwritable(args.output, "--output")
