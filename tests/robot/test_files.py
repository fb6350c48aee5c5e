import errno
import os
from pathlib import Path

import pytest

from robot.errors import ConfigError, StorageFull
from robot.files import move_whole, storage_errors, write_together, write_whole


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_every_kind_of_full_is_storage_full(code: int) -> None:
    with pytest.raises(StorageFull, match=r"file\.mcap"), storage_errors(Path("file.mcap")):
        raise OSError(code, os.strerror(code))


def test_dev_full_is_storage_full() -> None:
    with (
        pytest.raises(StorageFull, match="free some disk"),
        storage_errors(Path("/dev/full")),
        Path("/dev/full").open("wb", 0) as file,
    ):
        file.write(b"x")


def test_any_other_reason_is_named_with_where_else_to_write() -> None:
    with (
        pytest.raises(ConfigError, match="cannot write the log: Permission denied; name another"),
        storage_errors("the log", elsewhere="name another"),
    ):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_what_is_no_error_of_the_system_passes() -> None:
    with pytest.raises(ValueError, match="a defect"), storage_errors("a"):
        raise ValueError("a defect")


def test_a_file_is_replaced_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"

    write_whole(path, b"old")
    write_whole(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("works", [0, 1])
def test_a_disk_that_fills_between_files_leaves_all_the_old_ones_and_nothing_else(
    works: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {tmp_path / "a": b"old a", tmp_path / "b": b"old b"}
    write_together(old, name="both")
    calls = iter(range(works))

    def fill_up(descriptor: int) -> None:
        if next(calls, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(StorageFull, match="no space left to write both"):
        write_together(dict.fromkeys(old, b"new"), name="both")

    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_place_of_a_folder_is_a_sentence(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_bytes(b"")

    with pytest.raises(ConfigError, match=rf"cannot write {blocker}/inner: .*choose a folder"):
        write_whole(blocker / "inner", b"x")


def test_a_moved_file_is_gone_from_its_old_place(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "folder" / "target"
    source.write_bytes(b"x")

    move_whole(source, target)

    assert target.read_bytes() == b"x"
    assert not source.exists()


def test_a_move_of_nothing_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"cannot write {tmp_path}/target: No such file"):
        move_whole(tmp_path / "nowhere", tmp_path / "target")
