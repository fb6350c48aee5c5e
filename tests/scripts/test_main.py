import importlib
from pathlib import Path

import pytest

from robot.errors import (
    CalibrationMismatch,
    CameraLost,
    CameraMissing,
    ConfigError,
    LimitRefused,
    NoPermission,
    NotConnected,
    PolicyFailed,
    PortBusy,
    ServoFault,
    ServoTimeout,
    So101Error,
    StorageFull,
    UnsupportedSchema,
)
from scripts import teleop_command
from scripts.__main__ import main

REFUSED = [ConfigError, UnsupportedSchema, NotConnected, PortBusy, NoPermission, CameraMissing]
REFUSED += [CalibrationMismatch, StorageFull]
FAILED = [ServoTimeout, ServoFault, CameraLost, PolicyFailed, LimitRefused]


def run_failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def fail(_: teleop_command.Args) -> int:
        raise error

    monkeypatch.setattr(teleop_command, "main", fail)
    return main(["teleop"])


@pytest.mark.parametrize(
    ("error", "code"),
    [(error, 2) for error in REFUSED] + [(error, 1) for error in FAILED],
)
def test_what_is_refused_ends_in_2_and_what_fails_on_the_way_in_1(
    error: type[So101Error],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_failing(error("what to do next"), monkeypatch) == code
    assert capsys.readouterr().err == "so101 teleop: what to do next\n"


def test_an_interrupt_while_the_command_is_loaded_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib, "import_module", interrupted)

    assert main(["teleop"]) == 130
    assert capsys.readouterr().err == "so101 teleop: interrupted\n"


def test_what_was_found_out_after_an_error_stands_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = NotConnected("unplugged")
    error.add_note("the guard let go")

    assert run_failing(error, monkeypatch) == 2
    assert capsys.readouterr().err == "so101 teleop: unplugged\nso101 teleop: the guard let go\n"


def test_a_defect_is_one_sentence_and_its_details_are_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SO101_LOG", str(tmp_path / "log"))

    assert run_failing(ZeroDivisionError("x"), monkeypatch) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert "Traceback" in (tmp_path / "log").read_text()


def test_a_defect_whose_details_cannot_be_written_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SO101_LOG", str(tmp_path / "file" / "log"))

    assert run_failing(ZeroDivisionError("x"), monkeypatch) == 1
    said = capsys.readouterr().err
    assert "so101 teleop: unexpected ZeroDivisionError: x (details above" in said
    assert "Traceback" in said
