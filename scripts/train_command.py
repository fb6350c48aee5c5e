"""Train a policy on a recorded dataset; writes checkpoints that LeRobot's loader opens.

Reads a LeRobotDataset v3.0 folder (what `so101 record` writes). Ctrl-C writes a checkpoint and
ends; --resume goes on from the last one. On two CPU cores the default of 4000 steps takes about
five minutes.
"""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from robot.errors import ConfigError
from scripts.output_place import refuse_unwritable
from scripts.stopping import stop_on_signals
from train.inputs import refuse_unreadable, refuse_used_output
from train.presets import STANDARD, Head, Recipe

if TYPE_CHECKING:
    from train.log import TrainProgress
    from train.trainer import TrainResult

INTERRUPTED = 130


@dataclass(frozen=True)
class Args:
    """What to train on, and for how long."""

    dataset: Annotated[Path, tyro.conf.Positional]
    """Folder of the dataset (the one that holds meta/, data/ and videos/)."""
    output: Path = Path("outputs/train")
    """Folder of the run: checkpoints/ and train_log.jsonl."""
    steps: int = STANDARD.steps
    """Optimiser steps."""
    seed: int = STANDARD.seed
    """Everything random comes from it; the same seed and thread count give the same weights."""
    batch_size: int = STANDARD.batch_size
    """Frames a step."""
    head: Head = STANDARD.head
    """flow captures the distribution of the demonstrations; mse averages them (to compare)."""
    checkpoint_every: int = STANDARD.checkpoint_every
    """Steps between checkpoints; the last step always has one."""
    validation_episodes: int = STANDARD.validation_episodes
    """Episodes held out to measure the loss on, with each checkpoint."""
    resume: bool = False
    """Go on from the last checkpoint in --output, with its settings."""
    device: str = STANDARD.device
    """Torch device: cpu, cuda, mps."""
    threads: int = STANDARD.threads
    """Torch threads; use 1 when other programs need the processor."""


def main(args: Args) -> int:
    """Train, and say where the checkpoint is."""
    console = Console()
    recipe = Recipe(
        steps=args.steps,
        batch_size=args.batch_size,
        seed=args.seed,
        head=args.head,
        checkpoint_every=args.checkpoint_every,
        validation_episodes=args.validation_episodes,
        device=args.device,
        threads=args.threads,
    )
    if args.threads < 1:
        raise ConfigError(f"--threads must be at least 1, got {args.threads}")
    refuse_unreadable(args.dataset)
    refuse_unwritable(args.output, "--output")
    if not args.resume:
        refuse_used_output(args.output)
    with stop_on_signals() as stop:
        result = train_with_progress(
            args.dataset, args.output, recipe, console=console, resume=args.resume, should_stop=stop
        )
    if not result.is_finished:
        console.print(
            f"stopped at step {result.step} of {recipe.steps}; checkpoint written. Go on with "
            f"so101 train {args.dataset} --output {args.output} --resume",
            highlight=False,
            soft_wrap=True,
        )
        return INTERRUPTED
    console.print(
        f"trained {result.step} steps in {result.duration_s:.0f} s, loss {result.loss:.4f}\n"
        f"checkpoint: {result.checkpoint}",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def train_with_progress(
    dataset: Path,
    output: Path,
    recipe: Recipe,
    *,
    console: Console,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> "TrainResult":
    """Train under progress bars: images first, then steps with loss, speed and time left."""
    # A waiting thread spins briefly, then sleeps. By OpenMP's default two threads that share their
    # processors with other programs spin ten times longer than they compute (measured). Read when
    # torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    with console.status("loading torch and LeRobot"):
        from train.trainer import TrainListeners, train  # takes seconds; --help must not

    with _bars(console) as bars:
        return train(
            dataset,
            output,
            recipe,
            resume=resume,
            listeners=TrainListeners(
                on_cache=bars.on_cache, on_step=bars.on_step, should_stop=should_stop
            ),
        )


class _Bars:
    """Shows images decoded and steps taken; each bar appears when its work begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._cache: TaskID | None = None
        self._train: TaskID | None = None

    def on_cache(self, done: int, total: int) -> None:
        """Show how many images are decoded."""
        if self._cache is None:
            self._cache = self._progress.add_task("decoding images", total=total, note="")
        self._progress.update(self._cache, completed=done)

    def on_step(self, state: "TrainProgress") -> None:
        """Show the step, the loss and the speed."""
        if self._train is None:
            self._train = self._progress.add_task("training", total=state.steps, note="")
        note = f"loss {state.loss:.4f}  {state.steps_per_s:.1f} steps/s"
        self._progress.update(self._train, completed=state.step, note=note)


@contextmanager
def _bars(console: Console) -> Generator[_Bars]:
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress)
