"""Read an episode journal; one whose writer was killed, up to its last whole record.

Own framing instead of the MCAP reader's: an unfinished file has no index and may end anywhere,
which stock readers refuse. Layout of a record: opcode (1 byte), length (8 bytes, little-endian),
content (https://mcap.dev/spec, opcodes below). Pictures stay in the file until they are asked for.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from record.header import CLOCK_NAME, METADATA_NAME, JournalHeader, header_from_metadata
from record.messages import (
    CAMERA_PREFIX,
    EVENT_TOPIC,
    GOAL_TOPIC,
    JOINTS_TOPIC,
    EventMessage,
    GoalMessage,
    ImageData,
    ImageTiming,
    JointMessage,
    to_array,
)
from robot.errors import ConfigError, NoPermission
from robot.joints import JOINTS

_MAGIC = b"\x89MCAP0\r\n"
_CHANNEL, _MESSAGE, _METADATA, _DATA_END = 0x04, 0x05, 0x0C, 0x0F
_KNOWN = range(0x01, 0x10)
_FRAME = struct.Struct("<BQ")
_MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_WIDTH = len(JOINTS)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class JointTrack:
    """Joint samples of an episode, shape (n, 6) each."""

    time_s: FloatArray
    position_deg: FloatArray
    velocity_deg_s: FloatArray
    load_pct: FloatArray
    voltage_v: FloatArray
    temperature_celsius: FloatArray
    current_ma: FloatArray
    status: IntArray


@dataclass(frozen=True, slots=True)
class GoalTrack:
    """Goals of an episode: (n,) but `asked_deg` and `sent_deg`, which are (n, 6).

    `response` and `speed_factor` are those of `robot.health.Health`; of journals from before they
    were recorded: 0 and 1.
    """

    tick: IntArray
    time_s: FloatArray
    asked_deg: FloatArray
    sent_deg: FloatArray
    sent_s: FloatArray
    lateness_s: FloatArray
    missed: IntArray
    is_ramping: NDArray[np.bool_]
    response: IntArray
    speed_factor: FloatArray


class FrameTrack:
    """Pictures of one camera: times at once, JPEG bytes on demand."""

    def __init__(
        self, data: mmap.mmap, places: list[tuple[int, int]], timings: list[ImageTiming]
    ) -> None:
        """Index the camera's messages; `places` are (start, end) in `data`."""
        self._data = data
        self._places = places
        self.sequence: IntArray = np.array([timing.sequence for timing in timings], dtype=np.int64)
        self.capture_s: FloatArray = np.array(
            [timing.capture_s for timing in timings], dtype=np.float64
        )
        self.width = timings[0].width
        self.height = timings[0].height

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._places)

    def jpeg(self, index: int) -> bytes:
        """Return one picture as the camera sent it."""
        start, end = self._places[index]
        return msgspec.json.decode(self._data[start:end], type=ImageData).data


@dataclass(frozen=True, slots=True)
class Journal:
    """One episode as recorded."""

    path: Path
    header: JournalHeader
    is_complete: bool  # False: the writer did not finish; everything up to the cut is here
    joints: JointTrack
    goals: GoalTrack
    cameras: dict[str, FrameTrack]
    events: tuple[EventMessage, ...]
    clock_pairs: tuple[tuple[float, str], ...]  # (monotonic seconds, UTC)

    @property
    def outcome(self) -> str:
        """Return what the `end` event says: `success`, `fail`, or `unmarked`."""
        marks = [event.detail.get("outcome") for event in self.events if event.name == "end"]
        return str(marks[-1]) if marks and marks[-1] else "unmarked"

    @property
    def duration_s(self) -> float:
        """Return the time from the first to the last tick."""
        return (
            float(self.goals.time_s[-1] - self.goals.time_s[0]) if len(self.goals.time_s) else 0.0
        )


class _Scan:
    """Collects messages while the file is walked."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data = data
        self.path = path
        self.is_complete = False
        self.header: JournalHeader | None = None
        self.topics: dict[int, str] = {}
        self.joints: list[JointMessage] = []
        self.goals: list[GoalMessage] = []
        self.events: list[EventMessage] = []
        self.clock_pairs: list[tuple[float, str]] = []
        self.places: dict[str, list[tuple[int, int]]] = {}
        self.timings: dict[str, list[ImageTiming]] = {}
        self._joint_decoder = msgspec.json.Decoder(JointMessage)
        self._goal_decoder = msgspec.json.Decoder(GoalMessage)
        self._event_decoder = msgspec.json.Decoder(EventMessage)
        self._timing_decoder = msgspec.json.Decoder(ImageTiming)

    def run(self) -> None:
        """Walk all whole records; stop at the first that is cut off or no longer makes sense."""
        position, size = len(_MAGIC), len(self.data)
        while position + _FRAME.size <= size:
            opcode, length = _FRAME.unpack_from(self.data, position)
            start = position + _FRAME.size
            if opcode not in _KNOWN or start + length > size:
                return
            if opcode == _DATA_END:
                self.is_complete = True
                return
            try:
                self._record(opcode, start, start + length)
            except (msgspec.DecodeError, struct.error, UnicodeDecodeError):
                return  # damaged: what came before is good, what follows cannot be trusted
            position = start + length

    def _record(self, opcode: int, start: int, end: int) -> None:
        if opcode == _MESSAGE:
            channel = _MESSAGE_HEAD.unpack_from(self.data, start)[0]
            self._message(self.topics.get(channel, ""), start + _MESSAGE_HEAD.size, end)
        elif opcode == _CHANNEL:
            (channel,) = struct.unpack_from("<H", self.data, start)
            self.topics[channel] = _string(self.data, start + 4)[0]
        elif opcode == _METADATA:
            name, position = _string(self.data, start)
            values = _string_map(self.data, position)
            if name == METADATA_NAME:
                self.header = header_from_metadata(values, self.path)
            elif name == CLOCK_NAME:
                self.clock_pairs.append((float(values["monotonic_s"]), values["utc"]))

    def _message(self, topic: str, start: int, end: int) -> None:
        content = self.data[start:end]
        if topic == JOINTS_TOPIC:
            self.joints.append(self._joint_decoder.decode(content))
        elif topic == GOAL_TOPIC:
            self.goals.append(self._goal_decoder.decode(content))
        elif topic == EVENT_TOPIC:
            self.events.append(self._event_decoder.decode(content))
        elif topic.startswith(CAMERA_PREFIX):
            camera = topic.removeprefix(CAMERA_PREFIX)
            self.timings.setdefault(camera, []).append(self._timing_decoder.decode(content))
            self.places.setdefault(camera, []).append((start, end))


def read_journal(path: Path) -> Journal:
    """Read a journal, finished or not.

    Raises:
        ConfigError: no such file, not a journal, or cut off before its header was whole.
        UnsupportedSchema: written by a newer version.
    """
    scan = _Scan(_map(path), path)
    scan.run()
    if scan.header is None:
        raise ConfigError(f"{path} ends before its header: nothing was recorded in it; delete it")
    joints, goals = scan.joints, scan.goals
    pairs = [(scan.header.started_s, scan.header.started_utc), *scan.clock_pairs]
    return Journal(
        path=path,
        header=scan.header,
        is_complete=scan.is_complete,
        joints=JointTrack(
            time_s=to_array([m.time_s for m in joints], _WIDTH),
            position_deg=to_array([m.position_deg for m in joints], _WIDTH),
            velocity_deg_s=to_array([m.velocity_deg_s for m in joints], _WIDTH),
            load_pct=to_array([m.load_pct for m in joints], _WIDTH),
            voltage_v=to_array([m.voltage_v for m in joints], _WIDTH),
            temperature_celsius=to_array([m.temperature_celsius for m in joints], _WIDTH),
            current_ma=to_array([m.current_ma for m in joints], _WIDTH),
            status=np.array([m.status for m in joints], dtype=np.int64).reshape(
                len(joints), _WIDTH
            ),
        ),
        goals=GoalTrack(
            tick=np.array([m.tick for m in goals], dtype=np.int64),
            time_s=np.array([m.time_s for m in goals], dtype=np.float64),
            asked_deg=to_array([m.asked_deg for m in goals], _WIDTH),
            sent_deg=to_array([m.sent_deg for m in goals], _WIDTH),
            sent_s=np.array([m.sent_s for m in goals], dtype=np.float64),
            lateness_s=np.array([m.lateness_s for m in goals], dtype=np.float64),
            missed=np.array([m.missed for m in goals], dtype=np.int64),
            is_ramping=np.array([m.is_ramping for m in goals], dtype=np.bool_),
            response=np.array([m.response for m in goals], dtype=np.int64),
            speed_factor=np.array([m.speed_factor for m in goals], dtype=np.float64),
        ),
        cameras={
            name: FrameTrack(scan.data, scan.places[name], scan.timings[name])
            for name in sorted(scan.places)
        },
        events=tuple(scan.events),
        clock_pairs=tuple(pairs),
    )


def read_header(path: Path) -> JournalHeader:
    """Read only the header, which stands at the front; raises as `read_journal`."""
    data = _map(path)
    position = len(_MAGIC)
    while position + _FRAME.size <= len(data):
        opcode, length = _FRAME.unpack_from(data, position)
        start = position + _FRAME.size
        if start + length > len(data):
            break
        if opcode == _METADATA:
            name, place = _string(data, start)
            if name == METADATA_NAME:
                return header_from_metadata(_string_map(data, place), path)
        position = start + length
    raise ConfigError(f"{path} ends before its header: nothing was recorded in it; delete it")


def _map(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise ConfigError(
                    f"{path} is not an MCAP file, or was cut off before it began; "
                    "name a journal of so101"
                )
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except PermissionError as error:
        raise NoPermission(f"not allowed to read {path}; mend its permissions") from error
    except OSError as error:
        raise ConfigError(f"cannot read the journal {path}: {error.strerror}") from error


def _string(data: mmap.mmap, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", data, position)
    end = position + 4 + length
    return data[position + 4 : end].decode(), end


def _string_map(data: mmap.mmap, position: int) -> dict[str, str]:
    (length,) = struct.unpack_from("<I", data, position)
    position += 4
    end = position + length
    values: dict[str, str] = {}
    while position < end:
        key, position = _string(data, position)
        values[key], position = _string(data, position)
    return values
