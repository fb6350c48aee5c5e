from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.dataset import Episode, open_dataset
from train.samples import BatchOrder, Samples, split_rows

EPISODES = tuple(Episode(start, start + 10, "", {}) for start in range(0, 50, 10))


def test_an_epoch_shows_every_row_once_and_the_next_in_another_order() -> None:
    order = BatchOrder(np.arange(12), batch_size=4, seed=3)

    first = np.concatenate([order.rows(step) for step in range(3)])
    second = np.concatenate([order.rows(step) for step in range(3, 6)])

    assert sorted(first) == sorted(second) == list(range(12))
    assert list(first) != list(second)


def test_a_step_has_the_same_rows_whatever_came_before() -> None:
    walked = BatchOrder(np.arange(30), batch_size=4, seed=1)
    for step in range(11):
        walked.rows(step)

    jumped = BatchOrder(np.arange(30), batch_size=4, seed=1)

    np.testing.assert_array_equal(walked.rows(11), jumped.rows(11))


def test_fewer_rows_than_a_batch_are_used_whole() -> None:
    assert sorted(BatchOrder(np.arange(3), batch_size=64, seed=0).rows(5)) == [0, 1, 2]


def test_chunks_repeat_the_last_goal_of_their_own_episode_and_mark_it(dataset_root: Path) -> None:
    dataset = open_dataset(dataset_root)
    standard = {"observation.state": dataset.state, "action": dataset.action}
    samples = Samples(dataset, {}, standard, chunk_size=5)

    batch = samples.batch(np.array([0, 28]), torch.device("cpu"))

    assert batch["action"][0, :, 0].tolist() == [0, 1, 2, 3, 4]
    assert batch["action"][1, :, 0].tolist() == [28, 29, 29, 29, 29]
    assert batch["action_is_pad"].tolist() == [[False] * 5, [False, False, True, True, True]]


def test_the_chunk_equals_lerobots_own(dataset_root: Path) -> None:
    from lerobot.datasets import LeRobotDataset

    reader: Any = LeRobotDataset(
        "local/small",
        root=dataset_root,
        video_backend="pyav",
        delta_timestamps={"action": [step / 30 for step in range(5)]},
    )
    dataset = open_dataset(dataset_root)
    standard = {"observation.state": dataset.state, "action": dataset.action}

    batch = Samples(dataset, {}, standard, 5).batch(np.array([27, 40]), torch.device("cpu"))

    for position, row in enumerate((27, 40)):
        item = reader[row]
        torch.testing.assert_close(batch["action"][position], item["action"])
        torch.testing.assert_close(batch["action_is_pad"][position], item["action_is_pad"])


def test_held_out_episodes_are_whole_and_never_trained_on() -> None:
    training, validation = split_rows(EPISODES, held_out=2, seed=5)

    assert len(training) == 30
    assert sorted({*training, *validation}) == list(range(50))
    assert len({row // 10 for row in validation}) == 2


def test_nothing_is_held_out_unless_asked() -> None:
    training, validation = split_rows(EPISODES, held_out=0, seed=5)

    assert len(training) == 50
    assert len(validation) == 0
