"""The episode journal: one MCAP file an episode, append-only, in the file as soon as it is written.

Unchunked: the Python MCAP writer keeps a chunk in memory until it is full, and a killed process
would lose it. Written as `episode_000012.mcap.part`; a clean close adds the index, syncs and
renames. A message's log time says when its content was true (start of the tick, capture of the
frame), in nanoseconds of the rig's monotonic clock.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

import msgspec
from mcap.writer import Writer

from record.header import CLOCK_NAME, METADATA_NAME, JournalHeader, header_to_metadata, utc_now
from record.journal_reader import Journal, read_journal
from record.messages import (
    CAMERA_PREFIX,
    EVENT_SCHEMA,
    EVENT_TOPIC,
    GOAL_SCHEMA,
    GOAL_TOPIC,
    IMAGE_SCHEMA,
    JOINTS_SCHEMA,
    JOINTS_TOPIC,
    Detail,
    EventMessage,
    finding_detail,
    goal_message,
    image_message,
    joint_message,
    to_ns,
)
from record.storage import AppendFile
from robot.errors import ConfigError, StorageFull
from robot.files import storage_errors, sync_path
from robot.frames import CameraReader, Frame
from robot.health import Finding
from robot.loop import Tick

__all__ = [
    "EpisodeRecorder",
    "Journal",
    "JournalHeader",
    "JournalWriter",
    "next_journal_path",
    "read_journal",
]

CLOCK_PAIR_PERIOD_S = 10.0
_NAME = re.compile(r"episode_(\d{6,})\.mcap(\.part|\.discarded)?$")


def list_journals(folder: Path, *, unfinished: bool = False) -> list[Path]:
    """Return a folder's finished journals in the order of recording; cut off ones on request."""
    kinds = {None, ".part"} if unfinished else {None}
    matches = [(path, _NAME.match(path.name)) for path in folder.iterdir()]
    return sorted(path for path, match in matches if match and match.group(2) in kinds)


def next_journal_path(folder: Path) -> Path:
    """Return the first name that no episode here has had, discarded and unfinished included."""
    taken = [
        int(match.group(1))
        for path in folder.glob("episode_*")
        if (match := _NAME.match(path.name))
    ]
    return folder / f"episode_{max(taken, default=-1) + 1:06d}.mcap"


class JournalWriter:
    """Writes one episode, from one thread; every method raises StorageFull on a full disk."""

    def __init__(
        self, path: Path, header: JournalHeader, *, read_utc: Callable[[], str] = utc_now
    ) -> None:
        """Begin `path`, under its `.part` name, with the header; never over another episode."""
        self.path = path
        self.part_path = path.with_name(path.name + ".part")
        if path.exists() or self.part_path.exists():
            raise ConfigError(
                f"{path} exists already; a journal is never written over: "
                "choose another folder or name"
            )
        self._read_utc = read_utc
        self._encoder = msgspec.json.Encoder()
        self._file = AppendFile(self.part_path)
        self._is_open = True
        self._next_pair_s = header.started_s + CLOCK_PAIR_PERIOD_S
        self._sequences: dict[int, int] = {}
        self._cameras: dict[str, int] = {}
        try:
            # Writer wants typing.IO, but uses only write, tell and flush.
            self._writer = Writer(cast("IO[bytes]", self._file), use_chunking=False)
            self._writer.start(profile="", library="so101")
            self._writer.add_metadata(METADATA_NAME, header_to_metadata(header))
            self._joints = self._register(JOINTS_TOPIC, "so101.Joints", JOINTS_SCHEMA)
            self._goal = self._register(GOAL_TOPIC, "so101.Goal", GOAL_SCHEMA)
            self._event = self._register(EVENT_TOPIC, "so101.Event", EVENT_SCHEMA)
            self._image_schema = self._writer.register_schema(
                "foxglove.CompressedImage", "jsonschema", IMAGE_SCHEMA
            )
        except BaseException:
            self._file.close()
            self.part_path.unlink(missing_ok=True)  # no episode yet: nothing half-written
            raise

    def tick(self, tick: Tick) -> None:
        """Write one turn of the control loop: a joint sample and a goal."""
        self._add(self._joints, to_ns(tick.time_s), joint_message(tick))
        self._add(self._goal, to_ns(tick.time_s), goal_message(tick))
        if tick.time_s >= self._next_pair_s:
            self._next_pair_s = tick.time_s + CLOCK_PAIR_PERIOD_S
            pair = {"monotonic_s": repr(tick.time_s), "utc": self._read_utc()}
            self._writer.add_metadata(CLOCK_NAME, pair)

    def frame(self, frame: Frame) -> None:
        """Write one picture, undecoded."""
        channel = self._cameras.get(frame.camera)
        if channel is None:
            channel = self._channel(CAMERA_PREFIX + frame.camera, self._image_schema)
            self._cameras[frame.camera] = channel
        self._add(channel, to_ns(frame.capture_s), image_message(frame))

    def event(self, name: str, time_s: float, **detail: Detail) -> None:
        """Write that something happened at `time_s`."""
        self._add(self._event, to_ns(time_s), EventMessage(time_s=time_s, name=name, detail=detail))

    def close(self) -> None:
        """Finish the file: index, sync, final name.

        When even that does not fit on the disk, the `.part` file stays and is readable.
        """
        if not self._is_open:
            return
        self._is_open = False
        try:
            self._writer.finish()  # type: ignore[no-untyped-call]  # mcap leaves it unannotated
            self._file.sync()
        finally:
            self._file.close()
        self._rename(self.path)

    def discard(self) -> None:
        """Keep the file under a name that no export reads: renaming it undoes a slip."""
        if not self._is_open:
            return
        self.abandon()
        self._rename(discarded_path(self.path))

    def abandon(self) -> None:
        """Leave the file as it is, under its `.part` name; readable up to the last message."""
        if self._is_open:
            self._is_open = False
            try:
                self._file.sync()
            finally:
                self._file.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; after an error leave the `.part` file."""
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _register(self, topic: str, schema_name: str, schema: bytes) -> int:
        return self._channel(topic, self._writer.register_schema(schema_name, "jsonschema", schema))

    def _channel(self, topic: str, schema_id: int) -> int:
        return self._writer.register_channel(
            topic=topic, message_encoding="json", schema_id=schema_id
        )

    def _add(self, channel: int, time_ns: int, message: msgspec.Struct) -> None:
        sequence = self._sequences.get(channel, 0)
        self._sequences[channel] = sequence + 1
        try:
            self._writer.add_message(
                channel_id=channel,
                log_time=time_ns,
                publish_time=time_ns,
                sequence=sequence,
                data=self._encoder.encode(message),
            )
        except StorageFull:
            self.abandon()
            raise

    def _rename(self, target: Path) -> None:
        with storage_errors(target):
            self.part_path.rename(target)
            sync_path(target.parent)


def discarded_path(path: Path) -> Path:
    """Return the name a journal has after it was discarded."""
    return path.with_name(path.name + ".discarded")


def discard_saved(path: Path) -> Path:
    """Take a finished episode out of the folder's list; returns where it went."""
    target = discarded_path(path)
    with storage_errors(target):
        path.rename(target)
        sync_path(target.parent)
    return target


class EpisodeRecorder:
    """Tick listener: writes every tick, its findings, and the frames that arrived since the last.

    The walk to rest is no part of an episode: of it only its beginning is written, as `stop`.
    """

    def __init__(self, writer: JournalWriter, cameras: Mapping[str, CameraReader]) -> None:
        """Begin with the newest frame of each camera, so that rows start with the first tick."""
        self._writer = writer
        self._cameras = dict(sorted(cameras.items()))
        self._is_begun = False
        self._is_stopped = False
        for camera in self._cameras.values():
            for frame in camera.take()[-1:]:
                writer.frame(frame)

    def on_tick(self, tick: Tick) -> None:
        """Write the tick and drain the cameras."""
        if tick.phase == "drive":
            self._writer.tick(tick)
        elif not self._is_stopped:
            self._is_stopped = True
            self._writer.event("stop", tick.time_s)
        for finding in tick.news if self._is_begun else dict.fromkeys(_standing(tick)):
            self._writer.event("health", tick.time_s, **finding_detail(finding))
        self._is_begun = True
        if self._is_stopped:
            return
        for camera in self._cameras.values():
            for frame in camera.take():
                self._writer.frame(frame)


def _standing(tick: Tick) -> tuple[Finding, ...]:
    """Return what an episode that begins with this tick begins with."""
    return tick.health.findings + tick.news
