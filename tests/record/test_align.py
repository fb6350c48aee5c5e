from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from record.align import align, interpolate, longest_run, nearest, row_times
from record.journal import JournalWriter, read_journal
from robot.errors import ConfigError

type Record = Callable[..., JournalWriter]

moments = st.floats(0.0, 10.0, allow_nan=False)
increasing = st.lists(moments, min_size=1, max_size=40, unique=True).map(sorted)
rows = st.lists(moments, min_size=1, max_size=30)


@given(times=increasing, row=rows)
def test_nearest_is_the_nearest(times: list[float], row: list[float]) -> None:
    times_s, row_s = np.array(times), np.array(row)

    index = nearest(times_s, row_s)

    best = np.abs(times_s[None, :] - row_s[:, None]).min(axis=1)
    np.testing.assert_array_equal(np.abs(times_s[index] - row_s), best)


def test_of_two_equally_near_frames_the_earlier_is_taken() -> None:
    assert list(nearest(np.array([0.0, 1.0]), np.array([0.5]))) == [0]


@given(times=increasing, row=rows, data=st.data())
def test_interpolates_only_between_samples(
    times: list[float], row: list[float], data: st.DataObject
) -> None:
    levels = st.lists(
        st.floats(-180, 180, allow_nan=False), min_size=len(times), max_size=len(times)
    )
    values = np.array(data.draw(levels))
    times_s, row_s = np.array(times), np.array(row)

    result, covered = interpolate(times_s, values, row_s)

    for time_s, value, is_covered in zip(row_s, result, covered, strict=True):
        before = times_s[times_s <= time_s]
        after = times_s[times_s >= time_s]
        assert is_covered == bool(len(before) and len(after) and after[0] - before[-1] <= 0.1)
        if is_covered:
            ends = values[[len(before) - 1, len(times_s) - len(after)]]
            assert ends.min() - 1e-9 <= value <= ends.max() + 1e-9


def test_a_repeated_sample_counts_once() -> None:
    """A servo that missed a reply keeps its old value and time: no plateau in the rows."""
    times_s = np.array([0.0, 0.01, 0.01, 0.01, 0.04])
    values = np.array([0.0, 1.0, 1.0, 1.0, 4.0])

    result, covered = interpolate(times_s, values, np.array([0.02, 0.03]))

    np.testing.assert_allclose(result, [2.0, 3.0])
    assert covered.all()


def test_missing_samples_are_bridged_or_not_covered() -> None:
    times_s = np.array([0.0, 0.05, 0.06, 0.2, 0.21])
    values = np.array([0.0, np.nan, 6.0, 20.0, 21.0])

    result, covered = interpolate(times_s, values, np.array([0.03, 0.1, 0.205, 0.3]))

    np.testing.assert_allclose(result[[0, 2]], [3.0, 20.5])
    assert list(covered) == [True, False, True, False]


@given(start=st.floats(0, 1e6), length=st.floats(0, 20), fps=st.integers(1, 120))
def test_row_times_are_exact_and_within(start: float, length: float, fps: int) -> None:
    times_s = row_times(start, start + length, fps)

    np.testing.assert_array_equal(times_s, start + np.arange(len(times_s)) / fps)
    assert times_s[-1] <= start + length + 1e-6 / fps + 1e-9
    assert times_s[-1] + 1 / fps > start + length - 1e-6 / fps - 1e-9


@given(mask=st.lists(st.booleans(), max_size=30))
def test_longest_run_is_the_longest(mask: list[bool]) -> None:
    run = longest_run(np.array(mask, dtype=np.bool_))

    text = "".join("x" if flag else " " for flag in mask)
    assert run.stop - run.start == max((len(part) for part in text.split()), default=0)
    assert all(mask[run])


def test_rows_carry_what_was_true_at_their_time(tmp_path: Path, record_episode: Record) -> None:
    path = tmp_path / "episode_000000.mcap"
    record_episode(path, duration_s=1.0)

    alignment = align(read_journal(path), 30)

    slope = np.arange(1.0, 7.0)
    elapsed_s = (alignment.row_s - 1000.0)[:, None]
    np.testing.assert_allclose(alignment.state_deg, slope * elapsed_s, atol=1e-6)
    np.testing.assert_allclose(alignment.action_deg, slope * elapsed_s + 10.0, atol=1e-6)
    np.testing.assert_allclose(alignment.asked_deg, slope * elapsed_s + 20.0, atol=1e-6)
    for camera in ("front", "wrist"):
        np.testing.assert_allclose(alignment.frame_offset_s[camera], 0.0, atol=1e-6)
        assert list(np.diff(alignment.frame_index[camera])) == [1] * (len(alignment.row_s) - 1)
    assert alignment.rows_left_out == 0
    assert alignment.gap == ""
    assert len(alignment.row_s) == 30  # the first frame lies before the first goal was sent


@pytest.mark.parametrize("fps", [10, 15, 25, 30, 50])
def test_no_image_is_farther_than_half_a_camera_period(
    tmp_path: Path, record_episode: Record, fps: int
) -> None:
    path = tmp_path / "episode_000000.mcap"
    record_episode(path, duration_s=1.0)

    alignment = align(read_journal(path), fps)

    for offset_s in alignment.frame_offset_s.values():
        assert np.abs(offset_s).max() <= 0.5 / 30 + 1e-9


def test_one_lost_frame_is_bridged(tmp_path: Path, record_episode: Record) -> None:
    path = tmp_path / "episode_000000.mcap"
    record_episode(path, duration_s=1.0, lost=frozenset({10}))

    alignment = align(read_journal(path), 30)

    assert alignment.rows_left_out == 0
    assert np.abs(alignment.frame_offset_s["wrist"]).max() <= 1 / 30 + 1e-9
    assert (np.abs(alignment.frame_offset_s["wrist"]) > 0.02).sum() == 1


def test_a_gap_leaves_the_longer_side(tmp_path: Path, record_episode: Record) -> None:
    path = tmp_path / "episode_000000.mcap"
    record_episode(path, duration_s=1.5, lost=frozenset(range(10, 20)))

    alignment = align(read_journal(path), 30)

    assert alignment.start_s > 1000.0 + 18 / 30
    assert alignment.rows_left_out >= 17
    assert np.abs(alignment.frame_offset_s["wrist"]).max() <= 1 / 30 + 1e-9


def test_a_camera_that_goes_silent_is_counted_to_the_end_of_the_episode(
    tmp_path: Path, record_episode: Record
) -> None:
    path = tmp_path / "episode_000000.mcap"
    record_episode(path, duration_s=1.0, lost=frozenset(range(20, 100)))

    alignment = align(read_journal(path), 30)

    assert (len(alignment.row_s), alignment.rows_left_out) == (19, 11)
    assert alignment.gap.startswith("11 of 30 rows left out (camera 'wrist' silent for 10 of them")


def test_a_camera_that_begins_late_is_counted_from_the_start_of_the_episode(
    tmp_path: Path, record_episode: Record
) -> None:
    path = tmp_path / "episode_000000.mcap"
    record_episode(path, duration_s=1.0, lost=frozenset(range(10)))

    alignment = align(read_journal(path), 30)

    assert alignment.rows_left_out == 9  # the first frame lies before the first goal
    assert "camera 'front' silent for 8 of them" in alignment.gap


def test_an_episode_without_a_camera_has_rows(tmp_path: Path, record_episode: Record) -> None:
    path = tmp_path / "episode_000000.mcap"
    record_episode(path, duration_s=0.5, cameras=())

    alignment = align(read_journal(path), 30)

    assert len(alignment.row_s) >= 14
    assert alignment.frame_index == {}


def test_too_short_an_episode_is_refused(tmp_path: Path, record_episode: Record) -> None:
    path = tmp_path / "episode_000000.mcap"
    record_episode(path, duration_s=0.03)

    with pytest.raises(ConfigError, match=r"episode_000000.*record it again"):
        align(read_journal(path), 30)


def test_a_camera_that_never_delivered_is_named(tmp_path: Path, record_episode: Record) -> None:
    path = tmp_path / "episode_000000.mcap"
    record_episode(path, duration_s=0.5, lost=frozenset(range(100)))

    with pytest.raises(ConfigError, match="no frame of camera 'front'"):
        align(read_journal(path), 30)
