"""A camera that is an MJPEG stream over HTTP (multipart/x-mixed-replace).

Read with http.client and not with OpenCV, because OpenCV decodes the pictures and invents their time stamps: the twin states
each part's capture time in `X-Capture-Time` (seconds on this machine's monotonic clock) and its number in `X-Sequence`.
A stream without those headers is stamped on arrival.
"""

import contextlib
import socket
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import urlsplit

from robot.camera import Picture
from robot.clock import Clock
from robot.errors import CameraLost, ConfigError
from robot.rig import CameraProfile

CAPTURE_TIME_HEADER = "X-Capture-Time"
SEQUENCE_HEADER = "X-Sequence"
_WAIT_S = 0.5
_MAX_HEADER_LINES = 40
_MAX_JPEG_BYTES = 16_000_000


class StreamSource:
    """The parts of one stream; reconnecting is left to whoever opens the camera again."""

    def __init__(self, name: str, address: str, profile: CameraProfile, clock: Clock) -> None:
        self.width = profile.width
        self.height = profile.height
        self._name = name
        self._address = address
        self._clock = clock
        if profile.rotation_deg:
            raise ConfigError(
                f"camera '{name}': a stream's pictures are passed on as they come and cannot be turned; "
                "turn them where the stream is made and set rotation_deg = 0"
            )
        parts = urlsplit(address)
        if not parts.hostname:
            raise ConfigError(f"camera '{name}': {address} names no host; write http://host:port/path")
        self._connection = HTTPConnection(parts.hostname, parts.port or 80, timeout=_WAIT_S)
        try:
            self._connection.request("GET", parts.path or "/")
            self._response: HTTPResponse = self._connection.getresponse()
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise CameraLost(
                f"camera '{name}': nothing answers at {address} ({error}); "
                "check the address, and for a twin that it still runs"
            ) from error
        kind = self._response.headers.get_content_type()
        if self._response.status != 200 or kind != "multipart/x-mixed-replace":
            status = self._response.status
            self._connection.close()
            raise ConfigError(
                f"camera '{name}': {address} answers {status} {kind}, not an MJPEG stream; correct `address`"
            )
        # The socket itself is kept for `interrupt`: the response takes it over from the connection.
        self._socket: socket.socket | None = self._connection.sock
        self._buffer = b""

    def wait(self) -> Picture | None:
        """Return the next part, None when the next one has not begun within half a second."""
        try:
            first = self._peek()
        except TimeoutError:
            return None
        except (OSError, ValueError, HTTPException) as error:
            raise self._lost(str(error)) from error
        if not first:
            raise self._lost("the stream ended")
        try:
            return self._read_part()
        except (OSError, ValueError, HTTPException) as error:
            raise self._lost(str(error) or "broken part") from error

    def interrupt(self) -> None:
        """Shut the connection down, which ends a running read."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._connection.close()

    def _peek(self) -> bytes:
        """Wait for the first byte of the next part without losing anything to a timeout."""
        if self._buffer:
            return self._buffer
        self._buffer = self._response.read(1)
        return self._buffer

    def _read_line(self) -> bytes:
        line = self._buffer
        self._buffer = b""
        if line == b"\n":
            return line
        return line + self._response.readline(1000)

    def _read_part(self) -> Picture:
        headers: dict[str, str] = {}
        for _ in range(_MAX_HEADER_LINES):
            line = self._read_line()
            if not line:
                raise ValueError("the stream ended")
            text = line.strip().decode("latin-1")
            if text and ":" in text:
                key, _, value = text.partition(":")
                headers[key.strip().lower()] = value.strip()
            elif not text and headers:
                return self._picture(headers)
        raise ValueError("a part without an end to its headers")

    def _picture(self, headers: dict[str, str]) -> Picture:
        if "content-length" not in headers:
            raise ValueError("a part without Content-Length")
        length = int(headers["content-length"])
        if not 0 < length <= _MAX_JPEG_BYTES:
            raise ValueError(f"a part of {length} bytes")
        jpeg = self._response.read(length)
        if len(jpeg) < length or jpeg[:2] != b"\xff\xd8":
            raise ValueError("a part that is no whole JPEG")
        given = headers.get(CAPTURE_TIME_HEADER.lower())
        return Picture(
            capture_s=float(given) if given else self._clock.now_s(),
            jpeg=jpeg,
            sequence=int(headers.get(SEQUENCE_HEADER.lower(), -1)),
        )

    def _lost(self, reason: str) -> CameraLost:
        return CameraLost(
            f"camera '{self._name}' at {self._address} broke off ({reason}); "
            "check that what serves it still runs, then start again"
        )
