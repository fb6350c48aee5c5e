"""The twin's cameras in a process of their own: rendering must not hold up servos and physics.

Started by the twin with its configuration as argument; receives states of the world on standard input, one fixed-size record
a picture, and answers once on standard output with the addresses it serves. The pipe is the only link: when the twin ends, the
pipe ends, and so does this process; no shared memory is left behind, because none is used.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
import zmq

from robot.clock import MonotonicClock
from robot.errors import NotConnected
from robot.rig import CameraProfile
from robot.run_folder import CameraEntry
from sim.camera_streams import HttpStreams, JpegFrame, LatestFrame, ZmqStream
from robot.parent_death import die_with_parent
from sim.rendering import Renderer
from sim.virtual_camera import Snapshot
from sim.world import FollowerWorld

START_DEADLINE_S = (
    30.0  # importing MuJoCo and opening OpenGL: 1 s, on a busy machine many times that
)
STOP_DEADLINE_S = 2.0
_POLL_S = 0.5
_HEAD_VALUES = 3  # camera, index, time before the joints of a record; all doubles


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
                "cameras need an OpenGL library (Debian, Ubuntu: apt install libegl1 libgl1-mesa-dri)"
            )
        return msgspec.json.decode(line, type=dict[str, CameraEntry])

    def expose(self, name: str, snapshot: Snapshot) -> None:
        """Send a state to be shown by one camera; never waits."""
        record = np.empty(_HEAD_VALUES + len(snapshot.qpos))
        record[:_HEAD_VALUES] = self._names.index(name), snapshot.index, snapshot.time_s
        record[_HEAD_VALUES:] = snapshot.qpos
        try:
            os.write(self._pipe, record.tobytes())  # shorter than PIPE_BUF: all of it or nothing
        except BlockingIOError:
            self.dropped += 1

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


class _CameraServer:
    """The child: the newest state of each camera becomes a picture on both addresses, if anybody looks."""

    def __init__(self, cameras: dict[str, CameraProfile]) -> None:
        self._names = list(cameras)
        clock = MonotonicClock()
        model = FollowerWorld().model
        self._record_bytes = 8 * (_HEAD_VALUES + model.nq)
        self._renderers: dict[tuple[int, int], Renderer] = {}
        self._of_camera: dict[str, Renderer] = {}
        for name, profile in cameras.items():
            size = profile.width, profile.height
            if size not in self._renderers:
                self._renderers[size] = Renderer(model, *size)
            self._of_camera[name] = self._renderers[size]
        self._latest = {name: LatestFrame() for name in cameras}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._zmq = {name: ZmqStream(name, self._context, clock) for name in cameras}
        self._http = HttpStreams(self._latest)
        self.entries = {
            name: CameraEntry(
                http=self._http.address(name),
                zmq=self._zmq[name].entry,
                width=profile.width,
                height=profile.height,
                fps=profile.fps,
            )
            for name, profile in cameras.items()
        }

    def run(self, pipe: int) -> None:
        """Serve until the pipe ends."""
        pending = b""
        while True:
            if not select.select([pipe], [], [], _POLL_S)[0]:
                continue
            chunk = os.read(pipe, 1 << 16)
            if not chunk:
                return
            pending += chunk
            whole = len(pending) - len(pending) % self._record_bytes
            newest: dict[str, Snapshot] = {}
            for at in range(0, whole, self._record_bytes):
                camera, index, time_s, *_ = values = np.frombuffer(
                    pending[at : at + self._record_bytes]
                )
                newest[self._names[int(camera)]] = Snapshot(
                    float(time_s), int(index), values[_HEAD_VALUES:]
                )
            pending = pending[whole:]
            for name, snapshot in newest.items():
                self._show(name, snapshot)

    def _show(self, name: str, snapshot: Snapshot) -> None:
        latest, stream = self._latest[name], self._zmq[name]
        is_subscribed = stream.is_watched()
        if not is_subscribed and latest.viewers == 0:
            return
        jpeg = self._of_camera[name].render_jpeg(snapshot.qpos, name)
        frame = JpegFrame(snapshot.index, snapshot.time_s, jpeg)
        latest.put(frame)
        if is_subscribed:
            stream.publish(frame)


def main() -> None:
    """Serve the cameras of the configuration in the first argument."""
    config = msgspec.json.decode(sys.argv[1], type=CameraConfig)
    for number in (
        signal.SIGINT,
        signal.SIGHUP,
    ):  # a terminal's signals are for the twin, which ends us in order
        signal.signal(number, signal.SIG_IGN)
    die_with_parent(config.parent_pid)
    with contextlib.suppress(OSError):
        os.nice(5)  # pictures may be late, servos may not
    server = _CameraServer(config.cameras)
    sys.stdout.buffer.write(msgspec.json.encode(server.entries) + b"\n")
    sys.stdout.buffer.flush()
    server.run(sys.stdin.fileno())
    os._exit(0)  # threads of clients in mid-send hold nothing that needs an orderly end


if __name__ == "__main__":
    main()
