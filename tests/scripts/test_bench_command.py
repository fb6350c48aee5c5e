"""`so101 bench twin`: tables, JSON, a page of curves, and what it says about bad input."""

import json
from pathlib import Path

import numpy as np
import pytest

from robot.joints import JOINTS
from scripts.__main__ import main

COLUMNS = [
    "timestamp_s",
    *(f"{part}.{joint}" for part in ("action", "state") for joint in JOINTS),
]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Write a short made-up motion whose follower is perfect: no real one is, nor is the twin."""
    times_s = np.arange(0, 1.5, 1 / 30)[:, None]
    action = 10 + 15 * np.sin(2 * np.pi * 0.5 * times_s + np.arange(6.0))
    action[:, -1] += 20  # a gripper counts 0 to 100
    path = tmp_path / "made.csv"
    table = np.hstack([times_s, action, action])
    np.savetxt(path, table, delimiter=",", header=",".join(COLUMNS), comments="")
    return path


def test_json_holds_both_routes_and_all_joints(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["bench", "twin", "--recording", str(recording), "--json"])

    report = json.loads(capsys.readouterr().out)
    assert code == 0
    assert report["schema"] == 1
    assert report["recordings"] == ["made"]
    assert set(report["routes"]) == {"goals", "hand"}
    for joints in report["routes"].values():
        assert list(joints) == list(JOINTS)
        assert joints["shoulder_pan"]["real"]["delay_s"] == 0.0
        assert joints["shoulder_pan"]["twin"]["delay_s"] > 0.08
        assert joints["shoulder_pan"]["residual_ratio"] is None  # JSON knows no infinity
    assert report["is_within"] is False


def test_check_fails_outside_the_targets_and_the_page_is_self_contained(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "new" / "curves.html"

    code = main(["bench", "twin", "--recording", str(recording), "--plot", str(page), "--check"])

    assert code == 1
    shown = capsys.readouterr().out
    assert all(joint in shown for joint in JOINTS)
    assert page.read_text().count("<svg") == 6
    assert "http" not in page.read_text()


def test_a_file_that_is_no_recording_is_one_sentence_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")

    for name in ("bad.csv", "missing.csv"):
        assert main(["bench", "twin", "--recording", str(tmp_path / name)]) == 2
        message = capsys.readouterr().err.strip()
        assert "bad.csv has no column" in message or "cannot read the recording" in message
        assert "Traceback" not in message
