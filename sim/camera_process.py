"""The twin's side of its camera process: rendering must not hold up servos and physics.

The child (`camera_server`) gets its configuration as argument, states of the world on standard
input (one fixed-size record a picture), and answers once on standard output with the addresses it
serves. The pipe is the only link: when the twin ends, however it ends, the pipe ends, and so does
the child; no shared memory is left behind, because none is used.
"""

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from robot.errors import NotConnected
from robot.rig import CameraProfile
from robot.run_folder import CameraEntry
from sim.virtual_camera import Snapshot

START_DEADLINE_S = (
    30.0  # importing MuJoCo and opening OpenGL: 1 s, on a busy machine many times that
)
STOP_DEADLINE_S = 2.0
HEAD_VALUES = 3  # camera, index and time stand before the joints of a record; all are doubles


class CameraConfig(msgspec.Struct, frozen=True):
    """What the child is told at its start."""

    parent_pid: int
    cameras: dict[str, CameraProfile]


class CameraProcess:
    """The twin's side: starts the child, sends it states, ends it."""

    def __init__(self, cameras: dict[str, CameraProfile]) -> None:
        self.dropped = 0  # states the child was too slow to take
        self._names = list(cameras)
        config = CameraConfig(os.getpid(), cameras)
        root = str(Path(__file__).resolve().parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._child = subprocess.Popen(
            [sys.executable, "-m", "sim.camera_server", msgspec.json.encode(config).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            bufsize=0,
        )
        assert self._child.stdin is not None
        self._pipe = self._child.stdin.fileno()
        os.set_blocking(self._pipe, False)

    def wait_ready(self) -> dict[str, CameraEntry]:
        """Return the addresses once the child serves them; raises NotConnected when it does not."""
        assert self._child.stdout is not None
        line = b""
        if select.select([self._child.stdout], [], [], START_DEADLINE_S)[0]:
            line = self._child.stdout.readline()
        if not line:
            self.close()
            raise NotConnected(
                "the twin's cameras did not start (what they said stands above); "
                "cameras need an OpenGL library "
                "(Debian, Ubuntu: apt install libegl1 libgl1-mesa-dri)"
            )
        return msgspec.json.decode(line, type=dict[str, CameraEntry])

    def expose(self, name: str, snapshot: Snapshot) -> None:
        """Send a state to be shown by one camera; never waits."""
        record = np.empty(HEAD_VALUES + len(snapshot.qpos))
        record[:HEAD_VALUES] = self._names.index(name), snapshot.index, snapshot.time_s
        record[HEAD_VALUES:] = snapshot.qpos
        try:
            os.write(self._pipe, record.tobytes())  # shorter than PIPE_BUF: all of it or nothing
        except BlockingIOError:
            self.dropped += 1
        except BrokenPipeError as error:
            raise camera_process_ended() from error

    @property
    def is_alive(self) -> bool:
        """Tell whether the child still runs."""
        return self._child.poll() is None

    def close(self) -> None:
        """End the child: ask by closing the pipe, then insist; may be called twice."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        try:
            self._child.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(STOP_DEADLINE_S)
        self._child.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def camera_process_ended() -> NotConnected:
    """Return the error to raise when the child has died."""
    return NotConnected("the twin's camera process ended unexpectedly; start the twin again")
