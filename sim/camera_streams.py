"""One virtual camera on its two addresses: MJPEG over HTTP, and LeRobot's ZeroMQ camera format.

HTTP: `multipart/x-mixed-replace`, each part with `Content-Length`, `X-Capture-Time` (seconds on
this machine's monotonic clock: the moment of the state that is shown) and `X-Sequence`. ZeroMQ: a
PUB socket that sends the JSON text LeRobot 0.6's `ZMQCamera` reads, `{"timestamps": {NAME: seconds
since 1970}, "images": {NAME: base64 of the JPEG}}`. Everybody gets the newest picture: a client
that stalls misses pictures, and holds up nobody.
"""

import base64
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import zmq

from robot.clock import Clock
from robot.run_folder import ZmqEntry
from robot.stream_camera import CAPTURE_TIME_HEADER, SEQUENCE_HEADER

HOST = "127.0.0.1"
BOUNDARY = "so101frame"
STALLED_CLIENT_S = 30.0  # a client that takes no byte for so long is let go
_SEND_BUFFER_BYTES = 64 * 1024  # a few pictures: a stalled client must not come back to a long past


@dataclass(frozen=True, slots=True)
class JpegFrame:
    """One picture of one camera."""

    index: int
    time_s: float
    jpeg: bytes


class LatestFrame:
    """The newest picture of a camera, and who waits for the next; any number of threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: JpegFrame | None = None
        self._viewers = 0

    @property
    def viewers(self) -> int:
        """How many clients watch."""
        return self._viewers

    @contextmanager
    def watching(self) -> Generator[None]:
        """Count as a viewer."""
        with self._changed:
            self._viewers += 1
        try:
            yield
        finally:
            with self._changed:
                self._viewers -= 1

    def put(self, frame: JpegFrame) -> None:
        """Replace the newest picture."""
        with self._changed:
            self._frame = frame
            self._changed.notify_all()

    def wait_newer(self, index: int, timeout_s: float) -> JpegFrame | None:
        """Return the newest picture once it is newer than `index`, None when none came in time."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._frame is not None and self._frame.index > index, timeout_s
            )
            frame = self._frame
        return frame if frame is not None and frame.index > index else None


class HttpStreams:
    """All cameras of a twin on one ephemeral port, `/NAME.mjpg` each."""

    def __init__(self, cameras: dict[str, LatestFrame]) -> None:
        self._server = _Server((HOST, 0), _Handler)
        self._server.cameras = {f"/{name}.mjpg": latest for name, latest in cameras.items()}
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.5},
            name="http",
            daemon=True,
        )
        self._thread.start()

    def address(self, name: str) -> str:
        """Return a camera's address."""
        return f"http://{HOST}:{self._server.server_address[1]}/{name}.mjpg"

    def close(self) -> None:
        """Stop listening; the threads of clients end with the process."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1.0)


class ZmqStream:
    """One camera as LeRobot's `ZMQCamera` expects it, on a port of its own.

    An XPUB socket, which is a PUB socket that is told of subscriptions: nothing is rendered for
    nobody.
    """

    def __init__(self, name: str, context: "zmq.Context[zmq.Socket[bytes]]", clock: Clock) -> None:
        self._name = name
        self._utc_offset_s = datetime.now(UTC).timestamp() - clock.now_s()
        self._socket = context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 2)  # a slow subscriber loses pictures, not time
        self._port = self._socket.bind_to_random_port(f"tcp://{HOST}")
        self._is_watched = False

    @property
    def entry(self) -> ZmqEntry:
        """The address, as LeRobot's configuration names it."""
        return ZmqEntry(server_address=HOST, port=self._port, camera_name=self._name)

    def is_watched(self) -> bool:
        """Tell whether anybody subscribes."""
        while self._socket.poll(0):
            self._is_watched = (
                self._socket.recv()[:1] == b"\x01"
            )  # 1 first subscriber, 0 last one gone
        return self._is_watched

    def publish(self, frame: JpegFrame) -> None:
        """Send a picture to whoever subscribes."""
        message = {
            "timestamps": {self._name: frame.time_s + self._utc_offset_s},
            "images": {self._name: base64.b64encode(frame.jpeg).decode("ascii")},
        }
        self._socket.send(msgspec.json.encode(message))  # never blocks: PUB drops what does not fit

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(linger=0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    cameras: dict[str, LatestFrame]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up in mid-picture is no event."""


class _Handler(BaseHTTPRequestHandler):
    # The base class declares a BaseServer.
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.0"
    timeout = STALLED_CLIENT_S
    wbufsize = 0

    def do_GET(self) -> None:
        """Answer with the stream of the camera named by the path."""
        latest = self.server.cameras.get(self.path)
        if latest is None:
            self.send_error(HTTPStatus.NOT_FOUND, f"streams: {', '.join(self.server.cameras)}")
            return
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        index = -1
        with latest.watching():
            while True:
                frame = latest.wait_newer(index, STALLED_CLIENT_S)
                if frame is None:
                    continue
                index = frame.index
                self.wfile.write(_part(frame))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name)
        """Write no access log."""


def _part(frame: JpegFrame) -> bytes:
    head = (
        f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(frame.jpeg)}\r\n"
        f"{CAPTURE_TIME_HEADER}: {frame.time_s:.6f}\r\n{SEQUENCE_HEADER}: {frame.index}\r\n\r\n"
    )
    return head.encode("ascii") + frame.jpeg + b"\r\n"
