"""The twin's camera process: states of the world in, pictures out. See `camera_process`.

Its configuration comes as argument; it receives states of the world on standard input, one
fixed-size record a picture, and answers once on standard output with the addresses it serves. The
pipe is the only link: when the twin ends, the pipe ends, and so does this process; no shared memory
is left behind, because none is used.
"""

import contextlib
import os
import select
import signal
import sys

import msgspec
import numpy as np
import zmq

from robot.clock import MonotonicClock
from robot.parent_death import die_with_parent
from robot.rig import CameraProfile
from robot.run_folder import CameraEntry
from robot.terminal_signals import leave_terminal_to_parent
from sim.camera_process import HEAD_VALUES, CameraConfig
from sim.camera_streams import HttpStreams, JpegFrame, LatestFrame, ZmqStream
from sim.rendering import Renderer
from sim.virtual_camera import Snapshot
from sim.world import FollowerWorld

_POLL_S = 0.5


class _CameraServer:
    """The child: each camera's newest state becomes a picture, if anybody looks."""

    def __init__(self, cameras: dict[str, CameraProfile]) -> None:
        self._names = list(cameras)
        clock = MonotonicClock()
        model = FollowerWorld().model
        self._record_bytes = 8 * (HEAD_VALUES + model.nq)
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
                    float(time_s), int(index), values[HEAD_VALUES:]
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
    leave_terminal_to_parent()  # the twin ends us in order
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
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
