"""Two cameras that replay stored JPEGs, 30 a second: `python -m benchmarks.camera_replay FOLDER`.

The twin's own streams (`sim/camera_streams.py`), HTTP for this project and ZeroMQ for LeRobot,
without the twin's rendering: a camera costs the machine a USB transfer, not a renderer.
"""

import os
import select
import sys
import time
from pathlib import Path

import msgspec
import zmq

from benchmarks.bench_rig import FPS
from benchmarks.child import begin_child, say
from benchmarks.stored_frames import load_frames
from robot.clock import MonotonicClock
from robot.run_folder import ZmqEntry
from sim.camera_streams import HttpStreams, JpegFrame, LatestFrame, ZmqStream


class ReplayReady(msgspec.Struct, frozen=True):
    """Where the cameras are, each by name."""

    http: dict[str, str]
    zmq: dict[str, ZmqEntry]
    jpeg_bytes: int  # mean size of a picture


def main() -> None:
    """Replay until standard input ends."""
    begin_child()
    clock = MonotonicClock()
    frames = load_frames(Path(sys.argv[1]))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    latest = {name: LatestFrame() for name in frames}
    streams = {name: ZmqStream(name, context, clock) for name in frames}
    http = HttpStreams(latest)
    sizes = [len(jpeg) for jpegs in frames.values() for jpeg in jpegs]
    say(
        ReplayReady(
            {name: http.address(name) for name in frames},
            {name: stream.entry for name, stream in streams.items()},
            sum(sizes) // len(sizes),
        )
    )
    index, next_s = 0, time.monotonic()
    while True:
        if select.select([sys.stdin], [], [], max(0.0, next_s - time.monotonic()))[0]:
            break  # nothing is ever said to this process: its input has ended
        for name, jpegs in frames.items():
            frame = JpegFrame(index, clock.now_s(), jpegs[index % len(jpegs)])
            latest[name].put(frame)
            if streams[name].is_watched():
                streams[name].publish(frame)
        index += 1
        next_s += 1 / FPS
    os._exit(0)  # threads of clients in mid-send hold nothing that needs an orderly end


if __name__ == "__main__":
    main()
