"""Recorded motions as the leader's hand: CSV in two units, datasets, and bad files."""

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from robot.errors import ConfigError
from robot.joints import JOINTS
from sim.recorded_motion import ACTION_COLUMNS, DEGREE_COLUMNS, load_hand, load_motion

ROWS = [[10.0, 50.0, 0.0, 0.0, 0.0, 0.0, 25.0], [10.5, -50.0, 0.0, 0.0, 0.0, 100.0, 75.0]]


def write_csv(path: Path, header: list[str], rows: list[list[float]]) -> Path:
    lines = [",".join(header), *(",".join(str(value) for value in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_dataset(root: Path, episodes: list[list[list[float]]]) -> Path:
    (root / "meta").mkdir(parents=True)
    names = [f"{name}.pos" for name in JOINTS]
    (root / "meta" / "info.json").write_text(json.dumps({"features": {"action": {"names": names}}}))
    (root / "data" / "chunk-000").mkdir(parents=True)
    for number, rows in enumerate(episodes):
        columns = {
            "action": pyarrow.array(rows, pyarrow.list_(pyarrow.float32(), 6)),
            "timestamp": pyarrow.array([k / 30 for k in range(len(rows))], pyarrow.float32()),
            "episode_index": pyarrow.array([number] * len(rows), pyarrow.int64()),
        }
        parquet.write_table(
            pyarrow.table(columns), root / "data" / "chunk-000" / f"file-{number:03d}.parquet"
        )
    return root


def test_reads_normalised_units_as_degrees_by_nominal_ranges(tmp_path: Path) -> None:
    motion = load_motion(
        str(
            write_csv(
                tmp_path / "a.csv",
                ["timestamp_s", *ACTION_COLUMNS, "state.extra"],
                [[*r, 0] for r in ROWS],
            )
        )
    )

    assert motion.times_s.tolist() == [0.0, 0.5]
    assert motion.leader_deg[0] == pytest.approx([55.0, 0, 0, 0, 0, 25.0])
    assert motion.leader_deg[1] == pytest.approx([-55.0, 0, 0, 0, 180.0, 75.0])


def test_reads_degrees(tmp_path: Path) -> None:
    motion = load_motion(str(write_csv(tmp_path / "a.csv", ["timestamp_s", *DEGREE_COLUMNS], ROWS)))

    assert motion.leader_deg.tolist() == [row[1:] for row in ROWS]


def test_the_hand_repeats_the_motion_between_its_rows_and_holds_its_end(tmp_path: Path) -> None:
    hand = load_hand(str(write_csv(tmp_path / "a.csv", ["timestamp_s", *DEGREE_COLUMNS], ROWS)))
    here = np.zeros(6)
    start, middle, end = (hand.target_rad(at_s, here, here) for at_s in (3.0, 3.25, 9.0))

    assert np.rad2deg(start[0]) == pytest.approx(50.0)
    assert middle[0] == pytest.approx(0.0, abs=1e-9)
    assert np.rad2deg(end[0]) == pytest.approx(-50.0)
    assert hand.done


def test_reads_one_episode_of_a_dataset(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "set", [[[0.0] * 6] * 2, [[1.0] * 6, [2.0] * 6, [3.0] * 6]])

    assert len(load_motion(str(root)).times_s) == 2
    assert load_motion(f"{root}#1").leader_deg[:, 0].tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ConfigError, match="has no episode 7"):
        load_motion(f"{root}#7")
    with pytest.raises(ConfigError, match="must be a number"):
        load_motion(f"{root}#last")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "lacks columns"),
        (
            "timestamp_s,action.shoulder_pan\n0,1\n",
            "lacks columns: it needs timestamp_s and either action.shoulder_pan",
        ),
        (",".join(["timestamp_s", *DEGREE_COLUMNS]) + "\n", "at least two rows"),
        (
            ",".join(["timestamp_s", *DEGREE_COLUMNS]) + "\n0,0,0,0,0,0,0\n0,0,0,0,0,0,0\n",
            "increasing times",
        ),
        (
            ",".join(["timestamp_s", *DEGREE_COLUMNS]) + "\n0,0,0,0,0,0,0\n1,x,0,0,0,0,0\n",
            "every value must be a number",
        ),
        (
            ",".join(["timestamp_s", *DEGREE_COLUMNS]) + "\n0,0,0,0,0,0,0\n1,0,0\n",
            "every value must be a number",
        ),
        (
            ",".join(["timestamp_s", *DEGREE_COLUMNS]) + "\n0,0,0,0,0,0,0\n1,nan,0,0,0,0,0\n",
            "not a number",
        ),
    ],
)
def test_says_what_is_wrong_with_a_file(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)

    with pytest.raises(ConfigError, match=sentence):
        load_motion(str(path))


def test_says_what_a_hand_may_be_when_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no recording .*none, sweep, demonstrator"):
        load_motion(str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="is no LeRobot dataset"):
        load_motion(str(tmp_path))
