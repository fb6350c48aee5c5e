"""Writing files that are either complete or not there, and saying so when the disk is full."""

import contextlib
import errno
import math
import shutil
import uuid
from pathlib import Path
from types import TracebackType

from robot.errors import ConfigError, StorageFull
from robot.files import FULL, sync_path

PARTIAL = ".partial-"  # prefix of folders being written
RESERVE_BYTES = 50_000_000  # left free for the rest of the system


class StorageGuard:
    """Context in which a full disk becomes StorageFull, an unwritable folder ConfigError."""

    def __init__(self, folder: Path, what: str) -> None:
        self._folder = folder
        self._what = what

    def __enter__(self) -> "StorageGuard":
        """Begin."""
        return self

    def need(self, size_bytes: int) -> None:
        """Raise StorageFull now when `size_bytes` will not fit."""
        free = shutil.disk_usage(_existing(self._folder)).free
        if free < size_bytes + RESERVE_BYTES:
            raise StorageFull(
                f"{self._what} needs {size_bytes / 1e6:.0f} MB, {free / 1e6:.0f} MB are free; "
                "free some disk or choose another folder, then run the command again"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Translate; anything else passes."""
        if error is None:
            return
        if _is_full(error):
            raise StorageFull(
                f"the disk is full: cannot write {self._what}; what was finished before is kept. "
                "Free some disk, then run the command again with --resume"
            ) from error
        if isinstance(error, OSError) and error.errno in (
            errno.EACCES,
            errno.EPERM,
            errno.EROFS,
            errno.ENOTDIR,
        ):
            raise ConfigError(
                f"cannot write {self._what}: {error.strerror}; choose another folder"
            ) from error


def _is_full(error: BaseException) -> bool:
    """Tell whether a disk is full; safetensors says so in a message, without an errno."""
    if isinstance(error, OSError):
        return error.errno in FULL
    if type(error).__name__ != "SafetensorError":
        return False
    return any(f"(os error {number})" in str(error) for number in FULL)


def _existing(folder: Path) -> Path:
    for candidate in (folder, *folder.resolve().parents):
        if candidate.exists():
            return candidate
    return Path("/")


def replace_folder(partial: Path, final: Path) -> None:
    """Make all of `partial` durable, then rename it; a folder of the final name is replaced."""
    partial.chmod(0o755)  # mkdtemp's 0700 is for secrets
    for path in sorted(partial.rglob("*"), reverse=True):
        sync_path(path)
    sync_path(partial)
    old = final.with_name(f".old-{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        final.rename(old)
    partial.rename(final)
    sync_path(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def drop_leftovers(folder: Path, *, before_s: float = math.inf) -> None:
    """Remove what killed processes left unfinished in `folder`, if not changed since that time."""
    for leftover in (*folder.glob(f"{PARTIAL}*"), *folder.glob(".old-*")):
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            if leftover.stat().st_mtime < before_s:
                shutil.rmtree(leftover, ignore_errors=True)


def point_link(link: Path, target_name: str) -> None:
    """Let the relative symbolic link point to `target_name` in one step."""
    fresh = link.with_name(f".{link.name}-{uuid.uuid4().hex}")
    fresh.symlink_to(target_name)
    fresh.replace(link)
    sync_path(link.parent)
