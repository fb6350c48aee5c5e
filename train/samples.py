"""Which rows make which batch, and the chunks of goals that follow them.

A batch depends on the seed and the step alone, so that a resumed run sees exactly what an
uninterrupted one would have.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.cache import ByteArray
from train.dataset import ACTION, STATE, Dataset, Episode, IndexArray


class BatchOrder:
    """Shuffled epochs over some rows, cut into batches."""

    def __init__(self, rows: IndexArray, batch_size: int, seed: int) -> None:
        self._rows = rows
        self._batch_size = min(batch_size, len(rows))
        self._seed = seed
        self._epoch = -1
        self._order: IndexArray = rows

    def rows(self, step: int) -> IndexArray:
        """Return the rows of one step, from 0; an epoch's last, incomplete batch is left out."""
        epoch, batch = divmod(step, len(self._rows) // self._batch_size)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self._seed, epoch)).permutation(self._rows)
        return self._order[batch * self._batch_size : (batch + 1) * self._batch_size]


class Samples:
    """Standardised joints and chunks with uint8 images, ready for the policy's `forward`."""

    def __init__(
        self,
        dataset: Dataset,
        images: dict[str, ByteArray],
        standard: dict[str, NDArray[np.float32]],
        chunk_size: int,
    ) -> None:
        """Keep all but the images in memory; `standard`: standardised rows of state and action."""
        self._images = images
        self._state = torch.tensor(standard[STATE])
        self._action = torch.tensor(standard[ACTION])
        self._ahead = np.arange(chunk_size)
        self._stop = rows_until_stop(dataset.episodes)

    def batch(self, rows: IndexArray, device: torch.device) -> dict[str, Tensor]:
        """Return LeRobot's batch of these rows; past an episode's end its last goal is repeated."""
        ahead = rows[:, None] + self._ahead
        last = self._stop[rows][:, None] - 1
        batch = {
            STATE: self._state[torch.from_numpy(rows)],
            ACTION: self._action[torch.from_numpy(np.minimum(ahead, last))],
            "action_is_pad": torch.from_numpy(ahead > last),
        }
        for key, images in self._images.items():
            batch[key] = torch.from_numpy(images[rows])
        return {key: tensor.to(device) for key, tensor in batch.items()}


def rows_until_stop(episodes: Sequence[Episode]) -> IndexArray:
    """Return for each row the row at which its episode stops, (N,)."""
    return np.concatenate(
        [np.full(episode.stop - episode.start, episode.stop) for episode in episodes]
    )


def split_rows(
    episodes: Sequence[Episode], held_out: int, seed: int
) -> tuple[IndexArray, IndexArray]:
    """Return the rows to train on and the rows of `held_out` episodes drawn by the seed."""
    drawn = np.random.default_rng((seed, 7)).permutation(len(episodes))[:held_out]
    is_held = np.isin(np.arange(len(episodes)), drawn)
    rows = [np.arange(episode.start, episode.stop) for episode in episodes]
    empty = np.empty(0, dtype=np.int64)
    training = np.concatenate(
        [empty, *(row for row, held in zip(rows, is_held, strict=True) if not held)]
    )
    validation = np.concatenate(
        [empty, *(row for row, held in zip(rows, is_held, strict=True) if held)]
    )
    return training, validation
