"""Rows at k/fps on the episode's clock, each made of what was true at that moment: pure functions.

An image belongs to the row nearest to its capture time, a joint value is interpolated between the
samples around the row, an action is the goal interpolated between those sent around the row. Never
"the latest that had arrived". The grid starts on a frame of the slowest camera, so that with steady
cameras the offset of that camera is near zero. Why nearest and not "at or before":
docs/adr/0010-row-alignment.md.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from record.journal_reader import Journal
from robot.errors import ConfigError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

MAX_SAMPLE_GAP_S = 0.1  # joint samples or goals farther apart than this are not interpolated across
MAX_FRAME_OFFSET_PERIODS = 1.0  # in periods of the camera: one lost frame is bridged, two are not
MIN_ROWS = 2


@dataclass(frozen=True, slots=True)
class Alignment:
    """The rows of one episode, m of them."""

    start_s: float  # time of row 0 on the rig's clock
    row_s: FloatArray  # (m,)
    state_deg: FloatArray  # (m, 6)
    action_deg: FloatArray  # (m, 6), what was sent
    asked_deg: FloatArray  # (m, 6), what was asked
    frame_index: dict[str, IntArray]  # camera → (m,) index into its frames
    frame_offset_s: dict[str, FloatArray]  # camera → (m,) capture time minus row time
    rows_left_out: int  # of the episode, from its first goal to its last
    why_left_out: str  # who did not cover them, the worst first; empty when none is left out

    @property
    def gap(self) -> str:
        """Say in words what is left out; empty when nothing is."""
        if not self.rows_left_out:
            return ""
        rows_in_all = len(self.row_s) + self.rows_left_out
        return f"{self.rows_left_out} of {rows_in_all} rows left out ({self.why_left_out})"


def row_times(start_s: float, end_s: float, fps: int) -> FloatArray:
    """Return start + k/fps for all k that do not pass the end."""
    if end_s < start_s:
        return np.empty(0)
    count = int(np.floor((end_s - start_s) * fps + 1e-6)) + 1
    times: FloatArray = start_s + np.arange(count) / fps
    return times


def nearest(times_s: FloatArray, row_s: FloatArray) -> IntArray:
    """Return each row's nearest index into the increasing `times_s`; the earlier of two as near."""
    right = np.clip(np.searchsorted(times_s, row_s), 1, max(len(times_s) - 1, 1))
    left = right - 1
    if len(times_s) == 1:
        return np.zeros(len(row_s), dtype=np.int64)
    is_right = (times_s[right] - row_s) < (row_s - times_s[left])
    return np.where(is_right, right, left).astype(np.int64)


def interpolate(
    times_s: FloatArray, values: FloatArray, row_s: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Interpolate one signal linearly at each row; also say where the rows are covered.

    Repeated times (a servo that gave no new sample) count once. A row is covered when samples on
    both sides of it exist and lie no more than MAX_SAMPLE_GAP_S apart. `times_s` and `values` are
    (n,).
    """
    good = np.isfinite(times_s) & np.isfinite(values)
    times_s, values = times_s[good], values[good]
    fresh = (
        np.concatenate(([True], np.diff(times_s) > 0))
        if len(times_s)
        else np.zeros(0, dtype=np.bool_)
    )
    times_s, values = times_s[fresh], values[fresh]
    if len(times_s) == 0:
        return np.full(len(row_s), np.nan), np.zeros(len(row_s), dtype=np.bool_)
    right = np.clip(np.searchsorted(times_s, row_s, side="left"), 0, len(times_s) - 1)
    left = np.clip(np.searchsorted(times_s, row_s, side="right") - 1, 0, len(times_s) - 1)
    is_inside = (row_s >= times_s[0]) & (row_s <= times_s[-1])
    covered: BoolArray = is_inside & (times_s[right] - times_s[left] <= MAX_SAMPLE_GAP_S)
    return np.interp(row_s, times_s, values), covered


def interpolate_joints(
    times_s: FloatArray, values: FloatArray, row_s: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Interpolate (n, 6) signals, each on its own times, to (m, 6); say which rows all cover."""
    columns = [
        interpolate(times_s[:, joint], values[:, joint], row_s) for joint in range(values.shape[1])
    ]
    covered = np.logical_and.reduce([column[1] for column in columns])
    return np.stack([column[0] for column in columns], axis=1), covered


def longest_run(mask: BoolArray) -> slice:
    """Return the longest stretch of True, the first of equally long ones."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    starts, ends = edges[::2], edges[1::2]
    if len(starts) == 0:
        return slice(0, 0)
    best = int(np.argmax(ends - starts))
    return slice(int(starts[best]), int(ends[best]))


def camera_period_s(capture_s: FloatArray, fallback_s: float) -> float:
    """Return the median time between frames."""
    return float(np.median(np.diff(capture_s))) if len(capture_s) > 1 else fallback_s


def align(journal: Journal, fps: int) -> Alignment:
    """Make the rows of an episode: the longest stretch that all cameras and all joints cover.

    Raises:
    ConfigError: fewer than MIN_ROWS rows are covered; says what is missing.
    """
    captures = {name: track.capture_s for name, track in journal.cameras.items()}
    periods = {name: camera_period_s(capture_s, 1.0 / fps) for name, capture_s in captures.items()}
    missing = [name for name in journal.header.cameras if name not in captures]
    if missing or not len(journal.goals.time_s):
        what = f"no frame of camera {missing[0]!r}" if missing else "no joint sample"
        raise ConfigError(f"{journal.path}: the episode holds {what}; record it again")
    # A servo's samples may be absent (NaN): the last to begin and the first to end bound the rows.
    first_s = max(
        float(np.nanmax(np.nanmin(_known(journal), axis=0))), float(journal.goals.sent_s[0])
    )
    last_s = min(
        float(np.nanmin(np.nanmax(_known(journal), axis=0))), float(journal.goals.sent_s[-1])
    )
    for name, capture_s in captures.items():
        first_s = max(first_s, float(capture_s[0]) - periods[name] / 2)
        last_s = min(last_s, float(capture_s[-1]) + periods[name] / 2)
    anchor_s = _anchor_s(captures, periods, first_s)
    row_s = _all_rows(journal, anchor_s, last_s, max(periods.values(), default=0.0), fps)
    covered = (row_s >= anchor_s - 1e-9) & (row_s <= last_s + 1e-6 / fps)
    uncovered: dict[str, BoolArray] = {}  # by whom
    state_deg, joints_cover = interpolate_joints(
        journal.joints.time_s, journal.joints.position_deg, row_s
    )
    sent_s = np.repeat(journal.goals.sent_s[:, None], journal.goals.sent_deg.shape[1], axis=1)
    action_deg, goals_cover = interpolate_joints(sent_s, journal.goals.sent_deg, row_s)
    asked_deg, _ = interpolate_joints(sent_s, journal.goals.asked_deg, row_s)
    uncovered["joint samples"], uncovered["goals"] = ~joints_cover, ~goals_cover
    frame_index: dict[str, IntArray] = {}
    frame_offset_s: dict[str, FloatArray] = {}
    for name, capture_s in captures.items():
        frame_index[name] = nearest(capture_s, row_s)
        frame_offset_s[name] = capture_s[frame_index[name]] - row_s
        uncovered[f"camera '{name}'"] = (
            np.abs(frame_offset_s[name]) > MAX_FRAME_OFFSET_PERIODS * periods[name] + 1e-9
        )
    for mask in uncovered.values():
        covered &= ~mask
    rows = longest_run(covered)
    count = rows.stop - rows.start
    if count < MIN_ROWS:
        raise ConfigError(
            f"{journal.path}: only {count} rows at {fps} fps are covered by all cameras and "
            "joints; "
            "the episode is too short or a device was silent: record it again"
        )
    return Alignment(
        start_s=float(row_s[rows.start]),
        row_s=row_s[rows],
        state_deg=state_deg[rows],
        action_deg=action_deg[rows],
        asked_deg=asked_deg[rows],
        frame_index={name: index[rows] for name, index in frame_index.items()},
        frame_offset_s={name: offset_s[rows] for name, offset_s in frame_offset_s.items()},
        rows_left_out=len(row_s) - count,
        why_left_out=_blame(uncovered),
    )


def _all_rows(
    journal: Journal, anchor_s: float, last_s: float, period_s: float, fps: int
) -> FloatArray:
    """Return the rows from the first goal to the last, on the anchor's grid.

    At either end what one camera period and one sample gap explain is no row of the episode: there
    a row lacks a sample on one side.
    """
    edge_s = MAX_SAMPLE_GAP_S + period_s
    begin_s, end_s = float(journal.goals.sent_s[0]), float(journal.goals.sent_s[-1])
    before = int((anchor_s - begin_s) * fps) if anchor_s - begin_s > edge_s else 0
    end_s = end_s if end_s - last_s > edge_s else last_s
    after = row_times(anchor_s, end_s, fps)
    return np.concatenate((anchor_s - np.arange(before, 0, -1) / fps, after))


def _blame(uncovered: dict[str, BoolArray]) -> str:
    counts = sorted(
        ((int(mask.sum()), name) for name, mask in uncovered.items() if mask.any()), reverse=True
    )
    return ", ".join(f"{name} silent for {rows} of them" for rows, name in counts)


def _known(journal: Journal) -> FloatArray:
    known: FloatArray = np.where(
        np.isfinite(journal.joints.position_deg), journal.joints.time_s, np.nan
    )
    if np.isnan(known).all(axis=0).any():
        raise ConfigError(
            f"{journal.path}: a servo never answered during the episode; record it again"
        )
    return known


def _anchor_s(captures: dict[str, FloatArray], periods: dict[str, float], first_s: float) -> float:
    """Return the slowest camera's first capture from `first_s` on; `first_s` without cameras."""
    if not captures:
        return first_s
    slowest = max(sorted(captures), key=lambda name: round(periods[name], 4))
    after_s = captures[slowest][captures[slowest] >= first_s]
    return float(after_s[0]) if len(after_s) else first_s
