import os
from pathlib import Path

import pytest

from robot.errors import ConfigError, StorageFull
from train.storage import StorageGuard, drop_leftovers, point_link, replace_folder


def test_a_write_to_a_full_disk_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageFull, match=r"disk is full.*the log.*--resume"),
        StorageGuard(tmp_path, "the log"),
    ):
        Path("/dev/full").write_text("x")


def test_too_little_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)

    with pytest.raises(StorageFull, match=r"the run needs .* MB"):
        StorageGuard(tmp_path / "not" / "yet", "the run").need(free.f_bavail * free.f_frsize)

    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_the_folder_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(ConfigError, match="choose another folder"),
        StorageGuard(tmp_path, "the run"),
    ):
        (tmp_path / "file" / "run").mkdir()


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), StorageGuard(tmp_path, "the run"):
        _ = 1 / 0


def test_a_replaced_folder_holds_the_new_content_alone(tmp_path: Path) -> None:
    for name, content in (("final", "old"), ("partial", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / content).write_text(content)

    replace_folder(tmp_path / "partial", tmp_path / "final")

    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    assert [path.name for path in (tmp_path / "final").iterdir()] == ["new"]


def test_leftovers_of_killed_processes_go_when_old_enough(tmp_path: Path) -> None:
    for name, changed_s in ((".partial-x", 100.0), (".old-y", 100.0), (".partial-z", 300.0)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (changed_s, changed_s))

    drop_leftovers(tmp_path, before_s=200.0)

    assert [path.name for path in tmp_path.iterdir()] == [".partial-z"]


def test_the_link_moves_in_one_step(tmp_path: Path) -> None:
    point_link(tmp_path / "last", "a")
    point_link(tmp_path / "last", "b")

    assert os.readlink(tmp_path / "last") == "b"
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
