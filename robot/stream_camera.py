"""A camera that is an MJPEG stream over HTTP (multipart/x-mixed-replace).

Not read with OpenCV, which decodes the pictures and invents their time stamps: the twin states each
part's capture time in `X-Capture-Time` (seconds on this machine's monotonic clock) and its number
in `X-Sequence`. A stream without those headers is stamped on arrival. Not read with http.client
either, whose responses refuse to go on after a time-out (CPython, `socket.SocketIO`): waiting in
slices is what lets a camera be closed at once and found silent in time.
"""

import contextlib
import socket
from urllib.parse import urlsplit

from robot.camera import Picture
from robot.clock import Clock
from robot.errors import CameraLost, ConfigError
from robot.rig import CameraProfile

CAPTURE_TIME_HEADER = "X-Capture-Time"
SEQUENCE_HEADER = "X-Sequence"
_SLICE_S = 0.5
_ANSWER_DEADLINE_S = 5.0
_MAX_HEAD_BYTES = 4096
_MAX_JPEG_BYTES = 16_000_000
_RECEIVE_BYTES = 1 << 16

Headers = dict[str, str]


class StreamSource:
    """The parts of one stream; opening it again after a loss is left to the owner."""

    def __init__(self, name: str, address: str, profile: CameraProfile, clock: Clock) -> None:
        self.width = profile.width
        self.height = profile.height
        self._name = name
        self._address = address
        self._clock = clock
        self._buffer = b""
        self._next: Headers | None = None  # headers of a part whose picture has not come whole
        if profile.rotation_deg:
            raise ConfigError(
                f"camera '{name}': a stream's pictures are passed on as they come, not turned; "
                "turn them where the stream is made and set rotation_deg = 0"
            )
        self._socket = self._connect()
        try:
            self._check_answer(self._wait_for_head())
        except BaseException:
            self._socket.close()
            raise

    def wait(self) -> Picture | None:
        """Return the next part, None when it has not come whole within half a second."""
        try:
            while True:
                picture = self._parse()
                if picture is not None:
                    return picture
                if not self._receive():
                    raise self._lost("the stream ended")
        except TimeoutError:
            return None
        except (OSError, ValueError) as error:
            raise self._lost(str(error)) from error

    def interrupt(self) -> None:
        """Shut the connection down, which ends a running `wait`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _connect(self) -> socket.socket:
        """Connect and ask for the stream."""
        parts = urlsplit(self._address)
        if not parts.hostname:
            raise ConfigError(
                f"camera '{self._name}': {self._address} names no host; write http://host:port/path"
            )
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        request = f"GET {path} HTTP/1.0\r\nHost: {parts.hostname}\r\n\r\n"
        try:
            connection = socket.create_connection(
                (parts.hostname, parts.port or 80), timeout=_ANSWER_DEADLINE_S
            )
            connection.settimeout(_SLICE_S)
            connection.sendall(request.encode("ascii"))
        except (OSError, ValueError) as error:
            raise CameraLost(
                f"camera '{self._name}': nothing answers at {self._address} ({error}); "
                "check the address, and for a twin that it still runs"
            ) from error
        return connection

    def _wait_for_head(self) -> list[str]:
        """Return the lines of the answer's head."""
        deadline_s = self._clock.now_s() + _ANSWER_DEADLINE_S
        while b"\r\n\r\n" not in self._buffer and len(self._buffer) < _MAX_HEAD_BYTES:
            try:
                if not self._receive():
                    break
            except TimeoutError:
                if self._clock.now_s() > deadline_s:
                    raise self._lost(f"no answer within {_ANSWER_DEADLINE_S:g} s") from None
            except OSError as error:
                raise self._lost(str(error)) from error
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head.decode("latin-1").split("\r\n")

    def _check_answer(self, lines: list[str]) -> None:
        status = lines[0].split(" ")[1:2]
        kind = _headers(lines[1:]).get("content-type", "nothing").partition(";")[0].strip()
        if status != ["200"] or kind != "multipart/x-mixed-replace":
            raise ConfigError(
                f"camera '{self._name}': {self._address} answers '{lines[0]}' with {kind}, "
                "not an MJPEG stream; "
                "correct `address`"
            )

    def _receive(self) -> bool:
        """Add what came to the buffer; False at the end. Raises TimeoutError after a slice."""
        data = self._socket.recv(_RECEIVE_BYTES)
        self._buffer += data
        return bool(data)

    def _parse(self) -> Picture | None:
        """Take the next whole part out of the buffer, None while there is none."""
        if self._next is None:
            head, end, rest = self._buffer.lstrip(b"\r\n").partition(b"\r\n\r\n")
            if not end:
                if len(head) > _MAX_HEAD_BYTES:
                    raise ValueError("a part without an end to its headers")
                return None
            self._next = _headers(head.decode("latin-1").split("\r\n"))
            self._buffer = rest
        if "content-length" not in self._next:
            raise ValueError("a part without Content-Length")
        length = int(self._next["content-length"])
        if not 0 < length <= _MAX_JPEG_BYTES:
            raise ValueError(f"a part of {length} bytes")
        if len(self._buffer) < length:
            return None
        jpeg, self._buffer = self._buffer[:length], self._buffer[length:]
        if jpeg[:2] != b"\xff\xd8":
            raise ValueError("a part that is no JPEG")
        headers, self._next = self._next, None
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


def _headers(lines: list[str]) -> Headers:
    """Return header lines by lower-case name; a boundary line has no colon and drops out."""
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}
