"""A twin that a command starts for itself, and that does not come up: programs that stand in."""

import sys
from pathlib import Path

import pytest

from robot.errors import NotConnected
from robot.rig import load_rig
from scripts.twin_child import ensure_twin

RIG = Path("configs/twin.toml")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Starter":
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # no twin runs here
    return Starter(tmp_path / "twin", monkeypatch)


class Starter:
    """Start a shell script in the twin's place."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self._monkeypatch = monkeypatch

    def __call__(self, script: str) -> None:
        self.path.write_text(f"#!/bin/sh\n{script}\n")
        self.path.chmod(0o755)
        self._monkeypatch.setattr(sys, "executable", str(self.path))
        with ensure_twin(RIG, load_rig(RIG)):
            pass


@pytest.mark.timeout(20)
def test_a_talkative_twin_is_not_stopped_by_a_full_pipe(start: Starter) -> None:
    with pytest.raises(NotConnected, match="the twin did not start: no GL device"):
        start("head -c 1000000 /dev/zero | tr '\\0' 'w' >&2; echo >&2; echo no GL device >&2")


@pytest.mark.timeout(20)
def test_a_twin_that_never_says_where_it_is_is_stopped(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.twin_child.START_S", 0.3)
    with pytest.raises(NotConnected, match=r"did not start within 0\.3 s: loading"):
        start("echo loading >&2; cat >/dev/null")  # ends when its standard input closes


@pytest.mark.timeout(20)
def test_a_twin_that_runs_on_is_stopped_before_its_last_words_are_read(start: Starter) -> None:
    with pytest.raises(NotConnected, match="the twin did not start: goodbye"):
        start("echo elsewhere; cat >/dev/null; echo goodbye >&2")
