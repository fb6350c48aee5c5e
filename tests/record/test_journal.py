import base64
import dataclasses
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader

from record.header import JournalHeader
from record.journal import (
    EpisodeRecorder,
    JournalWriter,
    discard_saved,
    list_journals,
    next_journal_path,
    read_journal,
)
from record.journal_reader import read_header
from record.messages import IMAGE_SCHEMA, ImageMessage, JointMessage
from record.storage import AppendFile
from robot.errors import ConfigError, StorageFull, UnsupportedSchema
from robot.frames import Frame
from robot.health import Finding, Health, Response
from robot.loop import Tick

type Record = Callable[..., JournalWriter]
type TickAt = Callable[[int, float], Tick]


def test_reads_back_what_was_written(
    tmp_path: Path, record_episode: Record, header: JournalHeader, tick_at: TickAt
) -> None:
    path = tmp_path / "episode_000000.mcap"
    record_episode(path, duration_s=0.5)

    journal = read_journal(path)

    assert journal.is_complete
    assert journal.header == header
    assert journal.outcome == "success"
    assert [event.name for event in journal.events] == ["start", "end"]
    tick = tick_at(7, 1000.07)
    np.testing.assert_array_equal(journal.joints.position_deg[7], tick.observed.position_deg)
    np.testing.assert_array_equal(journal.joints.time_s[7], tick.observed.time_s)
    np.testing.assert_array_equal(journal.joints.status[7], tick.observed.status)
    np.testing.assert_array_equal(journal.goals.sent_deg[7], tick.sent_deg)
    np.testing.assert_array_equal(journal.goals.asked_deg[7], tick.asked_deg)
    assert journal.goals.sent_s[7] == tick.sent_s
    assert journal.clock_pairs == ((1000.0, header.started_utc),)
    assert list(journal.cameras) == ["front", "wrist"]
    assert journal.cameras["wrist"].jpeg(3).startswith(b"\xff\xd8")


def test_a_stock_reader_opens_it(tmp_path: Path, record_episode: Record) -> None:
    path = tmp_path / "episode_000000.mcap"
    record_episode(path, duration_s=0.2)

    with path.open("rb") as file:
        reader = make_reader(file)
        messages = list(reader.iter_messages())
        metadata = {item.name: item.metadata for item in reader.iter_metadata()}

    schemas = {channel.topic: schema for schema, channel, _ in messages if schema}
    assert set(schemas) == {"/joints", "/goal", "/event", "/camera/front", "/camera/wrist"}
    assert schemas["/camera/wrist"].name == "foxglove.CompressedImage"
    assert metadata["so101"]["schema"] == "1"
    for schema, channel, message in messages:
        assert schema is not None
        assert channel.message_encoding == "json"
        assert set(json.loads(message.data)) == set(json.loads(schema.data)["properties"])
        if channel.topic.startswith("/camera/"):
            content = json.loads(message.data)
            assert base64.b64decode(content["data"]).startswith(b"\xff\xd8")
            assert (
                content["timestamp"]["sec"] * 10**9 + content["timestamp"]["nsec"]
                == message.log_time
            )


def test_the_schemas_name_every_field() -> None:
    properties = json.loads(IMAGE_SCHEMA)["properties"]

    assert set(properties) == {field.name for field in msgspec.structs.fields(ImageMessage)}


def test_every_message_is_in_the_file_when_the_call_returns(
    tmp_path: Path, header: JournalHeader, tick_at: TickAt
) -> None:
    writer = JournalWriter(tmp_path / "episode_000000.mcap", header)
    for index in range(5):
        writer.tick(tick_at(index, 1000.0 + index / 100))

        journal = read_journal(writer.part_path)  # as another process would, or after a kill

        assert len(journal.goals.tick) == index + 1
        assert not journal.is_complete
    writer.abandon()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, record_episode: Record) -> Path:
    path = tmp_path_factory.mktemp("whole") / "episode_000000.mcap"
    record_episode(path, duration_s=0.3)
    return path


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cut_off_anywhere_it_reads_up_to_the_last_whole_record(
    data: st.DataObject, whole: Path, tmp_path: Path
) -> None:
    content = whole.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    tail = data.draw(st.sampled_from([b"", b"\0" * 64, b"\xff" * 64]))
    path = tmp_path / "cut.mcap"
    path.write_bytes(content[:cut] + tail)
    complete = read_journal(whole)

    try:
        journal = read_journal(path)
    except ConfigError:
        assert cut < 2000  # inside magic, file header or our header
        return

    count = len(journal.goals.tick)
    np.testing.assert_array_equal(journal.goals.sent_deg, complete.goals.sent_deg[:count])
    written = len(content) - len(complete.goals.tick)
    assert count >= int(len(complete.goals.tick) * (cut / written)) - 8
    for name, track in journal.cameras.items():
        for index in range(len(track)):
            assert track.jpeg(index) == complete.cameras[name].jpeg(index)


def test_a_damaged_message_ends_the_reading_there(whole: Path, tmp_path: Path) -> None:
    content = bytearray(whole.read_bytes())
    place = content.index(b'"tick":5,')
    content[place : place + 8] = b"\0" * 8
    path = tmp_path / "damaged.mcap"
    path.write_bytes(content)

    journal = read_journal(path)

    assert list(journal.goals.tick) == [0, 1, 2, 3, 4]
    assert not journal.is_complete


def test_two_episodes_of_the_same_content_have_the_same_message_bytes(
    tmp_path: Path, record_episode: Record
) -> None:
    contents: list[list[tuple[str, int, bytes]]] = []
    for name in ("episode_000000.mcap", "episode_000001.mcap"):
        record_episode(tmp_path / name, duration_s=0.2, episode=int(name[8:14]))
        with (tmp_path / name).open("rb") as file:
            messages = make_reader(file).iter_messages()
            contents.append([(c.topic, m.log_time, m.data) for _, c, m in messages])

    assert contents[0] == contents[1]


def test_wall_clock_pairs_are_kept_every_ten_seconds(
    tmp_path: Path, header: JournalHeader, tick_at: TickAt
) -> None:
    utc = iter(["a", "b"])
    with JournalWriter(
        tmp_path / "episode_000000.mcap", header, read_utc=lambda: next(utc)
    ) as writer:
        for index in range(25):
            writer.tick(tick_at(index, 1000.0 + index))

    journal = read_journal(tmp_path / "episode_000000.mcap")

    assert journal.clock_pairs[1:] == ((1010.0, "a"), (1020.0, "b"))


def test_a_silent_servo_is_nan_not_zero(
    tmp_path: Path, header: JournalHeader, tick_at: TickAt
) -> None:
    tick = tick_at(0, 1000.0)
    tick.observed.position_deg[2] = np.nan
    with JournalWriter(tmp_path / "episode_000000.mcap", header) as writer:
        writer.tick(tick)

    journal = read_journal(tmp_path / "episode_000000.mcap")

    assert np.isnan(journal.joints.position_deg[0, 2])
    assert np.isfinite(journal.joints.position_deg[0, [0, 1, 3, 4, 5]]).all()


def test_an_error_leaves_the_part_file(
    tmp_path: Path, header: JournalHeader, tick_at: TickAt
) -> None:
    path = tmp_path / "episode_000000.mcap"
    writer = JournalWriter(path, header)
    writer.tick(tick_at(0, 1000.0))
    with pytest.raises(AttributeError), writer:
        writer.tick(None)  # type: ignore[arg-type]  # the error

    assert not path.exists()
    assert len(read_journal(writer.part_path).goals.tick) == 1
    assert list_journals(tmp_path) == []
    assert list_journals(tmp_path, unfinished=True) == [writer.part_path]


def test_names_are_never_used_twice(
    tmp_path: Path, record_episode: Record, header: JournalHeader
) -> None:
    assert next_journal_path(tmp_path).name == "episode_000000.mcap"
    record_episode(tmp_path / "episode_000000.mcap", duration_s=0.1)
    record_episode(tmp_path / "episode_000001.mcap", duration_s=0.1, keep_open=True).discard()
    record_episode(tmp_path / "episode_000002.mcap", duration_s=0.1, keep_open=True).abandon()
    discard_saved(tmp_path / "episode_000000.mcap")

    assert next_journal_path(tmp_path).name == "episode_000003.mcap"
    assert list_journals(tmp_path) == []
    with pytest.raises(ConfigError, match="never written over"):
        JournalWriter(tmp_path / "episode_000002.mcap", header)


def test_a_newer_journal_is_refused(tmp_path: Path, whole: Path) -> None:
    path = tmp_path / "newer.mcap"
    path.write_bytes(whole.read_bytes().replace(b"schema\x01\0\0\x001", b"schema\x01\0\0\x009"))

    for read in (read_journal, read_header):
        with pytest.raises(UnsupportedSchema, match=r"schema 9.*update so101"):
            read(path)


def test_an_unknown_key_is_refused(tmp_path: Path, whole: Path) -> None:
    path = tmp_path / "unknown.mcap"
    path.write_bytes(whole.read_bytes().replace(b"rig_name", b"rig_nome"))

    with pytest.raises(UnsupportedSchema, match="rig_nome"):
        read_journal(path)


@pytest.mark.parametrize("content", [b"", b"not an mcap file", b"\x89MCAP0\r\n"])
def test_what_is_no_journal_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.mcap"
    path.write_bytes(content)

    for read in (read_journal, read_header):
        with pytest.raises(ConfigError, match=r"other\.mcap"):
            read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.mcap.*No such file"):
        read_journal(tmp_path / "none.mcap")


class TwoFrames:
    """A camera that has two frames waiting, then one a call."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._next = 2
        self._waiting = [self._frame(0), self._frame(1)]

    def _frame(self, number: int) -> Frame:
        return Frame(self.name, number, 1000.0 + number / 30, b"\xff\xd8", 4, 4)

    def take(self) -> list[Frame]:
        taken, self._waiting = self._waiting, [self._frame(self._next)]
        self._next += 1
        return taken

    def latest(self) -> Frame | None:
        return None

    def close(self) -> None:
        pass


def test_the_recorder_writes_ticks_and_frames(
    tmp_path: Path, header: JournalHeader, tick_at: TickAt
) -> None:
    path = tmp_path / "episode_000000.mcap"
    with JournalWriter(path, header) as writer:
        recorder = EpisodeRecorder(writer, {name: TwoFrames(name) for name in ("wrist", "front")})
        for index in range(3):
            recorder.on_tick(tick_at(index, 1000.0 + index / 100))

    journal = read_journal(path)

    assert list(journal.goals.tick) == [0, 1, 2]
    assert list(journal.cameras["wrist"].sequence) == [
        1,
        2,
        3,
        4,
    ]  # of the old ones only the newest


OVERLOAD = Finding("gripper", "overload", Response.DERATE, "the gripper is overloaded")
WARM = Finding("elbow_flex", "temperature", Response.WARN, "the elbow is at 55 °C")


def tired(tick: Tick, findings: tuple[Finding, ...], news: tuple[Finding, ...]) -> Tick:
    """Give a tick at which these findings hold, and these began."""
    yielding = np.array([False] * 5 + [OVERLOAD in findings])
    health = Health(Response.DERATE, 0.5, yielding, findings, news)
    return dataclasses.replace(tick, health=health, news=news, is_ramping=True)


def test_findings_are_events_and_what_held_before_the_episode_is_its_first(
    tmp_path: Path, header: JournalHeader, tick_at: TickAt
) -> None:
    path = tmp_path / "episode_000000.mcap"
    with JournalWriter(path, header) as writer:
        recorder = EpisodeRecorder(writer, {})
        recorder.on_tick(tired(tick_at(0, 1000.0), (WARM,), ()))
        recorder.on_tick(tired(tick_at(1, 1000.01), (WARM, OVERLOAD), (OVERLOAD,)))
        recorder.on_tick(tired(tick_at(2, 1000.02), (WARM, OVERLOAD), ()))
        recorder.on_tick(tick_at(3, 1000.03))

    journal = read_journal(path)

    assert [(event.name, event.time_s, event.detail["joint"]) for event in journal.events] == [
        ("health", 1000.0, "elbow_flex"),
        ("health", 1000.01, "gripper"),
    ]
    assert journal.events[1].detail == {
        "joint": "gripper",
        "kind": "overload",
        "response": "derate",
        "sentence": "the gripper is overloaded",
    }
    assert list(journal.goals.is_ramping) == [True, True, True, False]
    assert list(journal.goals.response) == [2, 2, 2, 0]
    assert list(journal.goals.speed_factor) == [0.5, 0.5, 0.5, 1.0]


def test_the_walk_to_rest_is_an_event_and_no_part_of_the_episode(
    tmp_path: Path, header: JournalHeader, tick_at: TickAt
) -> None:
    path = tmp_path / "episode_000000.mcap"
    with JournalWriter(path, header) as writer:
        recorder = EpisodeRecorder(writer, {"wrist": TwoFrames("wrist")})
        recorder.on_tick(tick_at(0, 1000.0))
        for index in (1, 2):
            recorder.on_tick(
                dataclasses.replace(tick_at(index, 1000.0 + index / 100), phase="rest")
            )

    journal = read_journal(path)

    assert list(journal.goals.tick) == [0]
    assert [(event.name, event.time_s) for event in journal.events] == [("stop", 1000.01)]
    assert list(journal.cameras["wrist"].sequence) == [1, 2]


def test_a_journal_from_before_health_was_recorded_opens() -> None:
    """Written by the program as it was then; see tests/record/conftest.py for its content."""
    journal = read_journal(Path(__file__).parent / "journals" / "before_health.mcap")

    assert journal.is_complete
    assert list(journal.goals.tick) == [0, 1, 2, 3, 4, 5]
    assert not journal.goals.is_ramping.any()
    assert list(journal.goals.response) == [0] * 6
    assert list(journal.goals.speed_factor) == [1.0] * 6
    assert journal.outcome == "success"
    assert len(journal.cameras["wrist"]) == 2


def test_a_full_disk_stops_with_everything_kept(tmp_path: Path) -> None:
    """In a process of its own, by a limit on the size of files: the same error path."""
    program = """
import resource, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {checkout!r}]
from conftest import make_header, make_tick
from record.journal import JournalWriter
from robot.errors import StorageFull
writer = JournalWriter(Path({path!r}), make_header())
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
try:
    for index in range(1000):
        writer.tick(make_tick(index, 1000.0 + index / 100))
except StorageFull as error:
    print(error)
    writer.close()
"""
    tests = Path(__file__).parent
    path = tmp_path / "episode_000000.mcap"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program.format(tests=str(tests), checkout=str(tests.parent.parent), path=str(path)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "no space left" in done.stdout
    assert "free some disk" in done.stdout
    assert not path.exists()
    part = path.with_name(path.name + ".part")
    journal = read_journal(part)
    assert len(journal.goals.tick) > 10
    assert part.stat().st_size <= 20_000


def test_an_append_file_never_ends_in_half_a_piece(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = AppendFile(tmp_path / "file")
    file.write(b"a" * 60)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(StorageFull):
            file.write(b"b" * 60)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    file.write(b"c" * 10)
    file.close()

    assert (tmp_path / "file").read_bytes() == b"a" * 60 + b"c" * 10


def test_joint_messages_hold_numbers_exactly(tick_at: TickAt) -> None:
    value = 0.1 + 0.2
    message = JointMessage(*[[value] * 6 for _ in range(7)], [0] * 6)  # type: ignore[arg-type, call-arg]

    decoded = msgspec.json.decode(msgspec.json.encode(message), type=JointMessage)

    assert decoded.position_deg == [value] * 6
