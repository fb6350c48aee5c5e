"""Capture threads and streams: times, numbers, deadlines, and cameras that break off. The stream is
served by a thread of the test.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from robot.camera import CaptureThread, Picture, open_camera
from robot.clock import MonotonicClock
from robot.errors import CameraLost, CameraMissing, ConfigError
from robot.frames import Frame
from robot.rig import CameraProfile

JPEG = b"\xff\xd8 picture \xff\xd9"
CLOCK = MonotonicClock()
HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n"


def part(
    sequence: int | None = None,
    capture_s: float | None = None,
    jpeg: bytes = JPEG,
    length: int | None = None,
) -> bytes:
    size = len(jpeg) if length is None else length
    head = f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {size}\r\n"
    if capture_s is not None:
        head += f"X-Capture-Time: {capture_s:.6f}\r\n"
    if sequence is not None:
        head += f"X-Sequence: {sequence}\r\n"
    return head.encode() + b"\r\n" + jpeg + b"\r\n"


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one client: `talk` gets the socket after the request; the socket stays open until the
    test ends.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client:
            client.recv(4096)
            try:
                talk(client)
            except OSError:
                return
            ended.wait(10)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/cam.mjpg"
    finally:
        ended.set()
        listener.close()
        thread.join(2)


def open_stream(address: str) -> CaptureThread:
    reader = open_camera("wrist", CameraProfile(address, 64, 48), address, CLOCK)
    assert isinstance(reader, CaptureThread)
    return reader


def take_until(reader: CaptureThread, count: int) -> list[Frame]:
    frames: list[Frame] = []
    deadline_s = time.monotonic() + 5
    while len(frames) < count and time.monotonic() < deadline_s:
        frames += reader.take()
        time.sleep(0.005)
    return frames


@pytest.mark.realtime
def test_frames_carry_the_streams_times_and_numbers_undecoded() -> None:
    def talk(client: socket.socket) -> None:
        client.sendall(HEAD + part(7, 100.25) + part(9, 100.5))

    with serving(talk) as address:
        reader = open_stream(address)
        first, second = take_until(reader, 2)
        newest = reader.latest()
        reader.close()

    assert (first.sequence, first.capture_s, first.jpeg) == (7, 100.25, JPEG)
    assert (second.sequence, second.capture_s) == (9, 100.5)
    assert newest is second
    assert (second.camera, second.width, second.height) == ("wrist", 64, 48)


@pytest.mark.realtime
def test_a_stream_in_tiny_chunks_and_without_times_is_stamped_on_arrival() -> None:
    def talk(client: socket.socket) -> None:
        data = HEAD + part() + part()
        for at in range(0, len(data), 3):
            client.sendall(data[at : at + 3])

    before_s = CLOCK.now_s()
    with serving(talk) as address:
        reader = open_stream(address)
        frames = take_until(reader, 2)
        reader.close()

    assert [frame.sequence for frame in frames] == [1, 2]
    assert all(before_s <= frame.capture_s <= CLOCK.now_s() for frame in frames)


@pytest.mark.realtime
@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (b"", "the stream ended"),
        (part(length=10**9), "a part of 1000000000 bytes"),
        (part(jpeg=b"GIF89a"), "no JPEG"),
        (b"--b\r\nContent-Type: image/jpeg\r\n\r\n", "without Content-Length"),
        (b"garbage\r\n" * 500, "without an end to its headers"),
    ],
)
def test_a_broken_stream_is_a_lost_camera_after_its_frames_were_taken(
    after: bytes, reason: str
) -> None:
    def talk(client: socket.socket) -> None:
        client.sendall(HEAD + part(1, 1.0) + after)
        client.shutdown(socket.SHUT_WR)

    with serving(talk) as address:
        reader = open_stream(address)
        reader._thread.join(5)
        frames = reader.take()
        with pytest.raises(CameraLost, match=rf"camera 'wrist' at http.*{reason}"):
            reader.take()
        with pytest.raises(CameraLost):
            reader.latest()
        reader.close()

    assert [frame.sequence for frame in frames] == [1]


@pytest.mark.realtime
def test_a_stream_that_never_delivers_is_refused_within_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("robot.camera.FIRST_FRAME_DEADLINE_S", 0.6)
    with serving(lambda client: client.sendall(HEAD)) as address:
        started_s = time.monotonic()
        with pytest.raises(CameraLost, match=r"no picture for 0\.6 s; check its cable"):
            open_stream(address)

    assert time.monotonic() - started_s < 5


@pytest.mark.realtime
def test_close_joins_the_thread_within_a_second_while_it_waits() -> None:
    with serving(lambda client: client.sendall(HEAD + part(1, 1.0))) as address:
        reader = open_stream(address)
        started_s = time.monotonic()
        reader.close()
        reader.close()

        assert not reader._thread.is_alive()
        assert time.monotonic() - started_s < 1.0
    assert reader.take()[0].sequence == 1


def test_nothing_at_the_address_is_a_lost_camera() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(CameraLost, match=r"nothing answers at http.*check the address"):
        open_stream(f"http://127.0.0.1:{port}/cam.mjpg")


@pytest.mark.realtime
@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.0 404 Not Found\r\n\r\n", b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\nhi"],
)
def test_an_address_that_is_no_stream_is_refused(answer: bytes) -> None:
    def talk(client: socket.socket) -> None:
        client.sendall(answer)
        client.shutdown(socket.SHUT_WR)

    with (
        serving(talk) as address,
        pytest.raises(ConfigError, match="not an MJPEG stream; correct `address`"),
    ):
        open_stream(address)


def test_a_stream_cannot_be_turned() -> None:
    address = "http://127.0.0.1:1/cam.mjpg"
    with pytest.raises(ConfigError, match="set rotation_deg = 0"):
        open_camera("wrist", CameraProfile(address, rotation_deg=180), address, CLOCK)


def test_a_device_that_is_no_camera_says_so(tmp_path: Path) -> None:
    with pytest.raises(CameraMissing, match="cannot be opened; check that it is a camera"):
        open_camera("wrist", CameraProfile("/dev/null"), "/dev/null", CLOCK)


class SilentSource:
    """A source that delivers one picture and then nothing."""

    width, height = 4, 3

    def __init__(self) -> None:
        self.is_closed = False
        self._pictures = [Picture(1.0, JPEG)]

    def wait(self) -> Picture | None:
        if self._pictures:
            return self._pictures.pop()
        time.sleep(0.01)
        return None

    def interrupt(self) -> None: ...

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.realtime
def test_a_camera_that_stops_delivering_is_lost_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robot.camera.NEXT_FRAME_DEADLINE_S", 0.1)
    source = SilentSource()
    reader = CaptureThread("front", source, CLOCK)
    reader.start()
    reader._thread.join(5)
    reader.take()

    with pytest.raises(CameraLost, match="camera 'front' has delivered no picture"):
        reader.take()
    assert source.is_closed


class FailingSource(SilentSource):
    """A source that delivers one picture and then trips over a defect."""

    def wait(self) -> Picture | None:
        if not self._pictures:
            raise ValueError("cannot reshape array")
        return super().wait()


def test_a_defect_in_the_capture_thread_is_a_lost_camera_and_no_frozen_picture() -> None:
    reader = CaptureThread("front", FailingSource(), CLOCK)
    reader.start()
    reader._thread.join(5)

    with pytest.raises(CameraLost, match=r"camera 'front' failed \(ValueError: cannot reshape"):
        reader.latest()
