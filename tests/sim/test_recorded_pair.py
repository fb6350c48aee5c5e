"""Recordings of a person's motion: reading them, and the measure of how a joint follows."""

from pathlib import Path

import numpy as np
import pytest

from robot.errors import ConfigError
from robot.joints import JOINTS, FloatVector
from sim.recorded_pair import fit_delay, load_recording

HEADER = ",".join(
    ["timestamp_s", *(f"{part}.{joint}" for part in ("action", "state") for joint in JOINTS)]
)


def write_csv(path: Path, lines: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def row(time_s: float, value: float = 1.0) -> str:
    return ",".join([str(time_s), *[str(value)] * 12])


def test_reads_times_from_zero_and_both_parts(tmp_path: Path) -> None:
    lines = [",".join(map(str, [5 + t / 30, *range(6), *range(10, 16)])) for t in range(60)]

    recording = load_recording(write_csv(tmp_path / "motion.csv", lines))

    assert recording.name == "motion"
    assert recording.times_s[0] == 0.0
    assert recording.times_s[-1] == pytest.approx(59 / 30)
    assert recording.action[7].tolist() == [0, 1, 2, 3, 4, 5]
    assert recording.state[7].tolist() == [10, 11, 12, 13, 14, 15]


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    names = HEADER.split(",")[::-1]
    lines = [",".join([*map(str, range(12)), str(t / 30)]) for t in range(60)]

    recording = load_recording(write_csv(tmp_path / "m.csv", lines, ",".join(names)))

    assert recording.state[0].tolist() == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        ([row(0)], "timestamp_s,action.gripper", "no column action.shoulder_pan"),
        ([], HEADER, "shorter than"),
        ([row(0.1 * t) for t in range(4)], HEADER, "shorter than"),
        (
            [row(0), row(1).replace("1.0", "north", 1)],
            HEADER,
            r"line 3: action.shoulder_pan .*north",
        ),
        ([row(0), row(1).rsplit(",", 1)[0]], HEADER, "line 3: state.gripper is not a number"),
        ([row(0), row(1, float("nan"))], HEADER, "line 3: action.shoulder_pan is not a number"),
        ([row(0), row(0.5), row(0.4), row(2)], HEADER, "does not increase at data row 3"),
    ],
)
def test_names_what_is_wrong(tmp_path: Path, lines: list[str], header: str, message: str) -> None:
    path = write_csv(tmp_path / "bad.csv", lines, header)

    with pytest.raises(ConfigError, match=message):
        load_recording(path)


def test_a_missing_or_binary_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the recording"):
        load_recording(tmp_path / "none.csv")
    (tmp_path / "picture").write_bytes(bytes(range(256)))
    with pytest.raises(ConfigError, match="not a text file"):
        load_recording(tmp_path / "picture")


def test_finds_a_constant_delay_and_what_remains() -> None:
    rng = np.random.default_rng(3)
    times_s: FloatVector = np.arange(0, 12, 1 / 30, dtype=np.float64)
    action = 40 * np.sin(1.7 * times_s) + 10 * np.sin(4.1 * times_s)
    state = np.interp(times_s - 0.137, times_s, action) + rng.normal(0, 0.4, times_s.size)

    fit = fit_delay([(times_s, action, state)])

    assert fit.delay_s == pytest.approx(0.137, abs=0.003)
    assert fit.residual == pytest.approx(0.4, rel=0.15)
    assert fit.undelayed > 5.0


def test_a_constant_droop_is_part_of_the_residual() -> None:
    times_s: FloatVector = np.arange(0, 12, 1 / 30, dtype=np.float64)
    action = 40 * np.sin(1.7 * times_s)

    fit = fit_delay([(times_s, action, action - 2.0)])

    assert fit.delay_s == pytest.approx(0.0, abs=0.002)
    assert fit.residual == pytest.approx(2.0, rel=0.02)
