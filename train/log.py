"""The training curve: one JSON object a line, readable while it grows, continued when resumed."""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np

from train.storage import StorageGuard

NAME = "train_log.jsonl"


@dataclass(frozen=True)
class TrainProgress:
    """Where a training stands; losses are means since the line before."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    gradient_norm: float
    steps_per_s: float
    elapsed_s: float
    validation_loss: float | None = None  # of the averaged weights, only where it was measured

    @property
    def remaining_s(self) -> float:
        """Time left at the present speed."""
        return (self.steps - self.step) / self.steps_per_s if self.steps_per_s > 0 else 0.0


class ProgressMeter:
    """Means between two lines of the log, and the speed."""

    def __init__(self, step: int, steps: int) -> None:
        self._steps = steps
        self._start_s = self._line_s = time.perf_counter()
        self._line_step = step
        self._losses: list[float] = []
        self._norms: list[float] = []
        self.last_loss = float("nan")

    @property
    def elapsed_s(self) -> float:
        """Since this run (not an earlier, resumed one) began."""
        return time.perf_counter() - self._start_s

    def add(self, loss: float, norm: float) -> None:
        """Note one step."""
        self._losses.append(loss)
        self._norms.append(norm)

    def read(self, step: int, learning_rate: float, validation_loss: float | None) -> TrainProgress:
        """Return where the run stands, and begin the next line."""
        now_s = time.perf_counter()
        speed = (step - self._line_step) / max(now_s - self._line_s, 1e-9)
        self.last_loss = float(np.mean(self._losses))
        progress = TrainProgress(
            step=step,
            steps=self._steps,
            loss=self.last_loss,
            learning_rate=learning_rate,
            gradient_norm=float(np.mean(self._norms)),
            steps_per_s=speed,
            elapsed_s=self.elapsed_s,
            validation_loss=validation_loss,
        )
        self._line_s, self._line_step = now_s, step
        self._losses.clear()
        self._norms.clear()
        return progress


class TrainLog:
    """Appends lines; each is in the file when `write` returns."""

    def __init__(self, output_dir: Path, *, keep_steps: int) -> None:
        """Open the log of a run, keeping the lines up to `keep_steps` (0: start anew)."""
        self.path = output_dir / NAME
        self._guard = StorageGuard(output_dir, f"the training log {self.path}")
        with self._guard:
            output_dir.mkdir(parents=True, exist_ok=True)
            kept = (
                [line for line in _lines(self.path) if _step(line) <= keep_steps]
                if keep_steps
                else []
            )
            self._file: IO[str] = self.path.open("w")
            self._file.writelines(f"{line}\n" for line in kept)
            self._file.flush()

    def write(self, progress: TrainProgress) -> None:
        """Append one line.

        Raises:
            StorageFull: no room.
        """
        row = {
            key: value for key, value in dataclasses.asdict(progress).items() if value is not None
        }
        with self._guard:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        try:
            with self._guard:
                self._file.close()
        finally:
            if not self._file.closed:
                self._file.close()


def read_log(output_dir: Path) -> list[TrainProgress]:
    """Return the curve of a run; an unfinished last line is left out."""
    return [TrainProgress(**json.loads(line)) for line in _lines(output_dir / NAME)]


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [line for line in path.read_text().splitlines() if line.endswith("}")]


def _step(line: str) -> int:
    return int(json.loads(line)["step"])
