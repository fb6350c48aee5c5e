"""A file that only grows, and that ends after a whole piece whatever happens."""

import os
from pathlib import Path

from robot.files import storage_errors


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
