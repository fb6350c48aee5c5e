"""Find a running twin for a rig, or run one for as long as a command needs it.

The child holds the read end of a pipe whose write end is this process's: when this process ends,
however it ends, the kernel closes the pipe and the child stops by itself (`--until-stdin-closes`).
Whoever has the follower holds that end too: the twin lives until the arm was let go.
"""

import contextlib
import select
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from robot.errors import ConfigError, NotConnected
from robot.rig import RigProfile
from robot.run_folder import TwinManifest, running_twins

START_S = 30.0  # loading MuJoCo on a busy small computer takes several seconds
STOP_S = 5.0


class FoundTwin(NamedTuple):
    """A running twin."""

    manifest: TwinManifest
    lifelines: tuple[int, ...]  # descriptors that keep a twin that was started here alive


@contextmanager
def ensure_twin(path: Path, profile: RigProfile) -> Generator[FoundTwin]:
    """Give a running twin of this rig.

    When there is none, one is started, and stopped afterwards.

    Raises:
        ConfigError: several run, and none can be told from the other.
        NotConnected: the twin did not start; carries its last words.
    """
    running = [manifest for manifest in running_twins() if manifest.rig == profile.name]
    if len(running) > 1:
        pids = ", ".join(str(manifest.pid) for manifest in running)
        raise ConfigError(
            f"{len(running)} twins of the rig '{profile.name}' are running (process ids {pids}); "
            "stop all but one, or give each its own profile with another `name`"
        )
    if running:
        yield FoundTwin(running[0], ())
        return
    print(f"no twin of '{profile.name}' is running: starting one for this command", file=sys.stderr)
    command = [sys.executable, "-m", "scripts", "twin", "--rig", str(path)]
    command += ["--json", "--until-stdin-closes"]
    # A file: a pipe that nobody drains would stop the twin at the 64th kilobyte of warnings.
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        )
        try:
            manifest = _wait_for_manifest(child, complaints)
            assert child.stdin is not None
            yield FoundTwin(manifest, (child.stdin.fileno(),))
        finally:
            _stop(child)


def _wait_for_manifest(child: "subprocess.Popen[bytes]", complaints: IO[bytes]) -> TwinManifest:
    """Wait for the line that says where everything is, then read the manifest of that process."""
    if child.stdout is None:
        raise NotConnected("the twin was started without a pipe: this is a defect")
    is_ready = bool(select.select([child.stdout], [], [], START_S)[0])
    if is_ready and child.stdout.readline():
        for manifest in running_twins():
            if manifest.pid == child.pid:
                return manifest
    _stop(child)  # first: what still runs may still say something
    complaints.seek(0)
    last_words = complaints.read().decode(errors="replace").strip().splitlines()
    raise NotConnected(
        f"the twin did not start{'' if is_ready else f' within {START_S:g} s'}: "
        f"{last_words[-1] if last_words else 'it said nothing'}"
    )


def _stop(child: "subprocess.Popen[bytes]") -> None:
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.close()
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout is not None:
        child.stdout.close()
