"""The folder of one running process tree: sockets, manifest, logs; gone when the run is.

`$XDG_RUNTIME_DIR/so101/<rig>-<pid>/`, mode 0700; where no runtime folder exists, `so101-<uid>/` in
the system's temporary folder, which must then belong to this user alone. A run holds a lock (flock)
on its folder's `lock` file: the kernel drops it however the process ends, so that a dead run is
told from a live one without trusting process ids, which are reused.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from uuid import uuid4

import msgspec

from robot.clock import Clock
from robot.errors import ConfigError, StorageFull, UnsupportedSchema
from robot.files import write_whole

SCHEMA = 1
MANIFEST = "manifest.json"
_LOCK = "lock"
# A Unix socket's address has 108 bytes (sun_path, unix(7)); the longest name we put in the folder
# takes 24 of them.
_MAX_PATH_BYTES = 108 - 24

LogValue = str | int | float | bool | None


class PortEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An arm's serial device."""

    port: str  # path; empty while its adapter is unplugged


class ZmqEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A camera as LeRobot's `ZMQCameraConfig` wants it."""

    server_address: str
    port: int
    camera_name: str


class CameraEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One camera on its two addresses."""

    http: str
    zmq: ZmqEntry
    width: int
    height: int
    fps: int


class TwinManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a running twin offers, and how to talk to it."""

    schema: int
    rig: str
    pid: int
    control: str  # ZeroMQ address of the twin's control socket
    leader: PortEntry
    follower: PortEntry
    cameras: dict[str, CameraEntry]


class RunFolder:
    """The folder of this process's run; `close` (or leaving the `with`) removes it."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self.run_id = uuid4().hex[:12]
        self._lock_fd = lock_fd

    def write_manifest(self, manifest: TwinManifest) -> None:
        """Put the manifest in place in one step: a reader sees the whole of it or none."""
        data = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
        write_whole(self.path / MANIFEST, data, elsewhere="set XDG_RUNTIME_DIR to another folder")

    def open_log(self, process: str, clock: Clock) -> "RunLog":
        """Open this run's JSON-lines log for one process."""
        return RunLog(self.path / f"{process}.log", process, self.run_id, clock)

    def close(self) -> None:
        """Remove the folder and let the lock go; may be called twice."""
        if self._lock_fd < 0:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock_fd)
        self._lock_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RunLog:
    """One JSON object a line: monotonic and UTC time, run, process, event and its values.

    A log must never stop what it logs: when the disk is full lines are dropped, and the next line
    that fits tells how many.
    """

    def __init__(self, path: Path, process: str, run_id: str, clock: Clock) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._process = process
        self._run_id = run_id
        self._clock = clock
        self._dropped = 0

    def event(self, name: str, **values: LogValue) -> None:
        """Write one line."""
        line: dict[str, LogValue] = {
            "monotonic_s": self._clock.now_s(),
            "utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "run": self._run_id,
            "process": self._process,
            "event": name,
            **values,
        }
        if self._dropped:
            line["dropped_before"] = self._dropped
        try:
            os.write(self._fd, msgspec.json.encode(line) + b"\n")
            self._dropped = 0
        except OSError:
            self._dropped += 1

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def runtime_root() -> Path:
    """Return the folder that holds all run folders of this user, made if need be.

    Raises:
        ConfigError: the fall-back folder belongs to somebody else, or the path is too long for a
        socket.
    """
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given and os.access(given, os.W_OK | os.X_OK):
        root = Path(given) / "so101"
    else:
        root = Path(tempfile.gettempdir()) / f"so101-{os.getuid()}"
    _make_folder(root, exist_ok=True)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(
            f"{root} belongs to another user, so nothing private may be kept there; "
            "set XDG_RUNTIME_DIR to a folder of your own"
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        root.chmod(0o700)
    return root


def open_run_folder(rig_name: str) -> RunFolder:
    """Remove the folders of dead runs, then make and lock this process's own.

    Raises:
        ConfigError: the path would be too long for the sockets in it.
        StorageFull: no room for the folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", rig_name):
        raise ConfigError(
            f"the rig's name {rig_name!r} must be 1 to 64 letters, digits, '_', '-' or '.', "
            "because a folder is named after it; change `name` in the profile"
        )
    root = runtime_root()
    remove_dead_folders(root)
    path = root / f"{rig_name}-{os.getpid()}"
    for number in range(2, 100):  # one process may hold several runs (tests do)
        if not path.exists():
            break
        path = root / f"{rig_name}-{os.getpid()}.{number}"
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise ConfigError(
            f"{path} is too long for a socket's address (at most {_MAX_PATH_BYTES} bytes); "
            "set XDG_RUNTIME_DIR to a shorter folder"
        )
    _make_folder(path, exist_ok=False)
    # Locked under another name first: a file called `lock` is never seen without its lock.
    partial = path / (_LOCK + ".partial")
    lock_fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock_fd, fcntl.LOCK_EX)
    partial.rename(path / _LOCK)
    return RunFolder(path, lock_fd)


def remove_dead_folders(root: Path) -> list[Path]:
    """Remove the folders whose process is gone; returns what was removed."""
    dead = [path for path in sorted(root.iterdir()) if path.is_dir() and not _is_alive(path)]
    for path in dead:
        shutil.rmtree(path, ignore_errors=True)
    return dead


def read_manifest(path: Path) -> TwinManifest:
    """Read a manifest file.

    Raises:
        UnsupportedSchema: written by a newer version.
        ConfigError: not a manifest.
    """
    try:
        content = path.read_bytes()
        found = msgspec.json.decode(content, type=_SchemaOnly)
        if found.schema > SCHEMA:
            raise UnsupportedSchema(
                f"{path} has schema {found.schema}, this version reads up to {SCHEMA}; "
                "stop that twin and start it again with this version"
            )
        return msgspec.json.decode(content, type=TwinManifest)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"{path} is not the manifest of a twin: {error}; start the twin again"
        ) from error


def running_twins() -> list[TwinManifest]:
    """Return the manifests of all live twins of this user, by process id."""
    found: list[TwinManifest] = []
    for path in sorted(runtime_root().iterdir()):
        # A twin that ends while we look is no twin.
        with contextlib.suppress(FileNotFoundError):
            if (path / MANIFEST).exists() and _is_alive(path):
                found.append(read_manifest(path / MANIFEST))
    return sorted(found, key=lambda manifest: manifest.pid)


class _SchemaOnly(msgspec.Struct):
    schema: int


def _make_folder(path: Path, *, exist_ok: bool) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=exist_ok)
    except FileExistsError as error:
        raise ConfigError(f"{path} is in the way; remove it or set XDG_RUNTIME_DIR") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise ConfigError(
                f"cannot make {path}: {error.strerror}; set XDG_RUNTIME_DIR to a folder of your own"
            ) from error
        raise StorageFull(
            f"cannot make {path}: {error.strerror}; free some space there, then start again"
        ) from error


def _is_alive(path: Path) -> bool:
    """Tell whether the run behind a folder still holds its lock."""
    try:
        fd = os.open(path / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return _is_starting(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who look do not meet
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _is_starting(path: Path) -> bool:
    """Tell whether the process named in a folder without lock exists: it may be about to lock."""
    match = re.fullmatch(r".+-(\d+)(?:\.\d+)?", path.name)
    if match is None:
        return False
    try:
        os.kill(int(match.group(1)), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
