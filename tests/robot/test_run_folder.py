"""Run folders: private, told apart from dead ones by a lock, and gone afterwards."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from robot.clock import MonotonicClock
from robot.errors import ConfigError, UnsupportedSchema
from robot.run_folder import (
    MANIFEST,
    SCHEMA,
    PortEntry,
    TwinManifest,
    open_run_folder,
    read_manifest,
    remove_dead_folders,
    running_twins,
    runtime_root,
)

MANIFEST_OF_X = TwinManifest(
    SCHEMA, "x", os.getpid(), "ipc://c", PortEntry("/dev/a"), PortEntry("/dev/b"), {}
)


@pytest.fixture(autouse=True)
def runtime(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    return short_path / "so101"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_is_private_named_after_rig_and_process_and_removed_on_close(runtime: Path) -> None:
    with open_run_folder("bench") as folder:
        assert folder.path == runtime / f"bench-{os.getpid()}"
        assert mode_of(folder.path) == mode_of(runtime) == 0o700

    assert list(runtime.iterdir()) == []


def test_a_folder_of_a_killed_process_is_removed_and_a_live_one_is_kept(runtime: Path) -> None:
    script = (
        "import os, signal; from robot.run_folder import open_run_folder; "
        "open_run_folder('dead'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run(
        [sys.executable, "-c", script], check=False, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    (dead,) = list(runtime.iterdir())

    with open_run_folder("live") as folder:
        assert not dead.exists()
        assert folder.path.exists()
        assert remove_dead_folders(runtime) == []


def test_a_reused_process_id_does_not_keep_a_dead_folder(runtime: Path) -> None:
    dead = runtime_root() / f"old-{os.getpid()}"
    dead.mkdir()
    (dead / "lock").touch()

    assert remove_dead_folders(runtime) == [dead]


def test_a_folder_that_is_just_being_made_is_kept(runtime: Path) -> None:
    starting = runtime_root() / f"new-{os.getpid()}"
    starting.mkdir()

    assert remove_dead_folders(runtime) == []


def test_falls_back_to_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))

    assert runtime_root() == tmp_path / f"so101-{os.getuid()}"


@pytest.mark.parametrize("name", ["", "a/b", "..x y", "x" * 65])
def test_refuses_a_rig_name_that_is_no_folder_name(name: str) -> None:
    with pytest.raises(ConfigError, match="change `name` in the profile"):
        open_run_folder(name)


def test_refuses_a_path_too_long_for_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))

    with pytest.raises(ConfigError, match="XDG_RUNTIME_DIR to a shorter folder"):
        open_run_folder("x" * 30)


def test_manifest_round_trip_and_lookup_of_live_twins() -> None:
    with open_run_folder("x") as folder:
        assert running_twins() == []

        folder.write_manifest(MANIFEST_OF_X)

        assert read_manifest(folder.path / MANIFEST) == MANIFEST_OF_X
        assert running_twins() == [MANIFEST_OF_X]
    assert running_twins() == []


def test_refuses_a_newer_and_a_broken_manifest(tmp_path: Path) -> None:
    path = tmp_path / MANIFEST
    path.write_text(json.dumps({"schema": SCHEMA + 1, "something": "else"}))
    with pytest.raises(UnsupportedSchema, match=f"schema {SCHEMA + 1}"):
        read_manifest(path)

    path.write_text('{"schema": 1, "rig": 3}')
    with pytest.raises(ConfigError, match="is not the manifest of a twin"):
        read_manifest(path)


def test_log_has_one_object_a_line_with_both_times() -> None:
    with open_run_folder("x") as folder:
        log = folder.open_log("twin", MonotonicClock())
        log.event("started", port="/dev/a")
        log.event("stopped", lost_s=0.5)
        log.close()
        log.close()

        lines = [json.loads(line) for line in (folder.path / "twin.log").read_text().splitlines()]

    assert [line["event"] for line in lines] == ["started", "stopped"]
    assert lines[0]["port"] == "/dev/a"
    assert lines[0]["monotonic_s"] <= lines[1]["monotonic_s"]
    assert lines[0]["utc"].endswith("+00:00")
    assert {line["run"] for line in lines} == {folder.run_id}


def test_a_log_on_a_full_disk_drops_lines_and_says_so() -> None:
    with open_run_folder("x") as folder:
        log = folder.open_log("twin", MonotonicClock())
        good_fd, log._fd = log._fd, os.open("/dev/full", os.O_WRONLY)
        log.event("lost")
        os.close(log._fd)
        log._fd = good_fd
        log.event("kept")
        log.close()

        (line,) = (folder.path / "twin.log").read_text().splitlines()

    assert json.loads(line)["dropped_before"] == 1
