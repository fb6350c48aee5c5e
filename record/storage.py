"""Files that are either whole or not there, and one error for every way a disk can be full."""

import contextlib
import errno
import os
from collections.abc import Generator
from pathlib import Path

from robot.errors import ConfigError, NoPermission, StorageFull

# No space, over quota, over the process's file-size limit: the same to a person.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextlib.contextmanager
def storage_errors(path: Path) -> Generator[None]:
    """Translate operating-system errors of writing `path`.

    Raises:
        StorageFull: the disk, the quota or the file-size limit is exhausted.
        NoPermission: the user may not write there.
        ConfigError: any other reason, named.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                f"no space left to write {path} ({error.strerror}); what was finished before is "
                "kept: free some disk and run the same command again"
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise NoPermission(
                f"not allowed to write {path} ({error.strerror}); "
                "choose a folder of your own or mend its permissions"
            ) from error
        raise ConfigError(f"cannot write {path}: {error.strerror}; choose another place") from error


def write_whole(path: Path, data: bytes) -> None:
    """Put a file in place at once: written beside, synced, renamed.

    An interrupted call leaves the old file, or none.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def move_whole(source: Path, target: Path) -> None:
    """Rename a file that is already synced, on one file system, and make the rename durable."""
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AppendFile:
    """A file that only grows; what `write` took is with the operating system when it returns.

    So nothing of ours is lost when the process dies, and no timer has to flush. A write that fails
    half-way is cut off again: the file always ends after a whole piece.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(
                path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644
            )

    def write(self, data: bytes) -> int:
        """Append all of `data`, or nothing of it; raises StorageFull."""
        view = memoryview(data)
        written = 0
        with storage_errors(self._path):
            try:
                while written < len(view):
                    written += os.write(self._descriptor, view[written:])
            except OSError:
                os.ftruncate(self._descriptor, self._position)
                os.lseek(self._descriptor, self._position, os.SEEK_SET)
                raise
        self._position += written
        return written

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._position

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def sync(self) -> None:
        """Wait until the disk has it all."""
        with storage_errors(self._path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
