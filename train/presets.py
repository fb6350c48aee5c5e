"""How the project trains: the recipe and its values."""

from dataclasses import dataclass
from typing import Literal

Head = Literal["flow", "mse"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; lengths in steps unless the name says seconds."""

    steps: int = 4000
    batch_size: int = 64
    seed: int = 0
    head: Head = "flow"
    chunk_s: float = 0.8  # predicted at once; half of it is executed before the next prediction
    checkpoint_every: int = 1000
    log_every: int = 20
    validation_episodes: int = 0  # held out, chosen by the seed
    device: str = "cpu"
    threads: int = 2  # torch threads; 1 when other processes need the cores


STANDARD = Recipe()
