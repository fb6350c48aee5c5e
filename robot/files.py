"""Files that are either whole or not there, and one error for every way a disk can be full."""

import contextlib
import errno
import os
from collections.abc import Generator, Mapping
from pathlib import Path

from robot.errors import ConfigError, StorageFull

# No space, over quota, over the process's file-size limit: the same to a person.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
ELSEWHERE = "choose a folder of your own or mend its permissions"


@contextlib.contextmanager
def storage_errors(name: Path | str, *, elsewhere: str = ELSEWHERE) -> Generator[None]:
    """Translate operating-system errors of writing `name`, a path or words that end in one.

    Raises:
        StorageFull: the disk, the quota or the file-size limit is exhausted.
        ConfigError: any other reason; ends with `elsewhere`, how to name another place.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull(
                f"no space left to write {name} ({error.strerror}); what was finished before is "
                "kept: free some disk and run the same command again"
            ) from error
        raise ConfigError(f"cannot write {name}: {error.strerror}; {elsewhere}") from error


def write_whole(
    path: Path, data: bytes, *, name: str | None = None, elsewhere: str = ELSEWHERE
) -> None:
    """Put a file in place at once; raises what `storage_errors` raises.

    An interrupted call leaves the old file, or none.
    """
    write_together({path: data}, name=name or str(path), elsewhere=elsewhere)


def write_together(files: Mapping[Path, bytes], *, name: str, elsewhere: str = ELSEWHERE) -> None:
    """Put files in place: all are written beside and synced before the first is renamed.

    So a full disk leaves the old files, all of them; raises what `storage_errors` raises.
    """
    parts = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in files}
    with storage_errors(name, elsewhere=elsewhere):
        try:
            for path, part in parts.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                with part.open("wb") as file:
                    file.write(files[path])
                    file.flush()
                    os.fsync(file.fileno())
            for path, part in parts.items():
                part.replace(path)
        except BaseException:
            for part in parts.values():
                with contextlib.suppress(OSError):
                    part.unlink()
            raise
        for folder in {path.parent for path in files}:
            sync_path(folder)


def move_whole(source: Path, target: Path) -> None:
    """Rename a file that is already synced, on one file system, and make the rename durable."""
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        sync_path(target.parent)


def sync_path(path: Path) -> None:
    """Make a file's content durable, or the renames inside a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
