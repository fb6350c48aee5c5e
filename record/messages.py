"""What is written in an episode journal: the messages, their JSON schemas and their topics.

Times inside messages are seconds of the rig's monotonic clock; wall-clock time appears in the
journal's metadata only, so that two runs of the twin from one seed give identical messages. Images
use Foxglove's `CompressedImage` JSON schema (field names and schema name from foxglove/foxglove-
sdk, `schemas/jsonschema/CompressedImage.json`) with four further fields, which the schema allows;
stock viewers show them.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from robot.frames import Frame
from robot.health import Finding
from robot.joints import SERVO_IDS
from robot.loop import Tick

JOINTS_TOPIC = "/joints"
GOAL_TOPIC = "/goal"
EVENT_TOPIC = "/event"
CAMERA_PREFIX = "/camera/"

type Vector = list[float | None]  # NaN travels as null: JSON has no NaN
type Detail = str | int | float | bool | None


class JointMessage(msgspec.Struct):
    """One sample of six joints in the order of `robot.joints.JOINTS`, each with its own time."""

    time_s: Vector
    position_deg: Vector
    velocity_deg_s: Vector
    load_pct: Vector
    voltage_v: Vector
    temperature_celsius: Vector
    current_ma: Vector
    status: list[int]


class GoalMessage(msgspec.Struct):
    """One tick of the control loop: what was asked, what was sent, and how punctual it was.

    The values with a default came later: an older journal has none of them.
    """

    tick: int
    time_s: float
    asked_deg: Vector
    sent_deg: Vector
    sent_s: float
    lateness_s: float
    missed: int
    is_ramping: bool = False
    response: int = 0  # of `robot.health.Response`, the worst that held
    speed_factor: float = 1.0  # what health left of the speed
    yielding: list[int] = []  # servo ids whose goal became their present position


class Stamp(msgspec.Struct):
    """A time as Foxglove writes it; here of the monotonic clock."""

    sec: int
    nsec: int


class ImageMessage(msgspec.Struct):
    """One picture; msgspec writes bytes as base64, as the schema asks."""

    timestamp: Stamp
    frame_id: str
    data: bytes
    format: str
    sequence: int
    capture_s: float
    width: int
    height: int


class ImageTiming(msgspec.Struct):
    """The same message without its picture: what a reader indexes by."""

    sequence: int
    capture_s: float
    width: int
    height: int


class ImageData(msgspec.Struct):
    """The same message, the picture alone."""

    data: bytes


class EventMessage(msgspec.Struct):
    """Something that happened.

    `start`, `end` (with the outcome), `health` (a finding began, or held when the episode did),
    `stop` (the arm began to walk to rest), `gap` (messages of the control process were lost, by
    their numbers), `failed` (the recording broke off, with the error).
    """

    time_s: float
    name: str
    detail: dict[str, Detail] = {}


def joint_message(tick: Tick) -> JointMessage:
    """Return the joint half of a tick."""
    observed = tick.observed
    return JointMessage(
        time_s=observed.time_s.tolist(),
        position_deg=observed.position_deg.tolist(),
        velocity_deg_s=observed.velocity_deg_s.tolist(),
        load_pct=observed.load_pct.tolist(),
        voltage_v=observed.voltage_v.tolist(),
        temperature_celsius=observed.temperature_celsius.tolist(),
        current_ma=observed.current_ma.tolist(),
        status=list(observed.status),
    )


def goal_message(tick: Tick) -> GoalMessage:
    """Return the goal half of a tick."""
    return GoalMessage(
        tick=tick.index,
        time_s=tick.time_s,
        asked_deg=tick.asked_deg.tolist(),
        sent_deg=tick.sent_deg.tolist(),
        sent_s=tick.sent_s,
        lateness_s=tick.lateness_s,
        missed=tick.missed,
        is_ramping=tick.is_ramping,
        response=int(tick.health.response),
        speed_factor=tick.health.speed_factor,
        yielding=[SERVO_IDS[index] for index in np.flatnonzero(tick.health.yielding)],
    )


def finding_detail(finding: Finding) -> dict[str, Detail]:
    """Return what a `health` event says about a finding."""
    return {
        "joint": finding.joint,
        "kind": finding.kind,
        "response": finding.response.name.lower(),
        "sentence": finding.sentence,
    }


def image_message(frame: Frame) -> ImageMessage:
    """Return a frame as Foxglove's CompressedImage, sequence and exact capture time beside."""
    sec, nsec = divmod(to_ns(frame.capture_s), 1_000_000_000)
    return ImageMessage(
        timestamp=Stamp(sec=sec, nsec=nsec),
        frame_id=frame.camera,
        data=frame.jpeg,
        format="jpeg",
        sequence=frame.sequence,
        capture_s=frame.capture_s,
        width=frame.width,
        height=frame.height,
    )


def to_ns(time_s: float) -> int:
    """Convert seconds to the integer nanoseconds of MCAP."""
    return round(time_s * 1e9)


def to_array(vectors: list[Vector], width: int) -> NDArray[np.float64]:
    """Stack message vectors, shape (n, width); null becomes NaN."""
    rows = [[math.nan if value is None else value for value in vector] for vector in vectors]
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)


_NUMBER: dict[str, object] = {"type": "number"}
_INTEGER: dict[str, object] = {"type": "integer"}
_VECTOR: dict[str, object] = {"type": "array", "items": {"type": "number"}}


def _object(title: str, properties: dict[str, object]) -> bytes:
    return msgspec.json.encode({"title": title, "type": "object", "properties": properties})


JOINTS_SCHEMA = _object(
    "so101.Joints",
    {
        "time_s": _VECTOR,
        "position_deg": _VECTOR,
        "velocity_deg_s": _VECTOR,
        "load_pct": _VECTOR,
        "voltage_v": _VECTOR,
        "temperature_celsius": _VECTOR,
        "current_ma": _VECTOR,
        "status": {"type": "array", "items": _INTEGER},
    },
)
GOAL_SCHEMA = _object(
    "so101.Goal",
    {
        "tick": _INTEGER,
        "time_s": _NUMBER,
        "asked_deg": _VECTOR,
        "sent_deg": _VECTOR,
        "sent_s": _NUMBER,
        "lateness_s": _NUMBER,
        "missed": _INTEGER,
        "is_ramping": {"type": "boolean"},
        "response": _INTEGER,
        "speed_factor": _NUMBER,
        "yielding": {"type": "array", "items": _INTEGER},
    },
)
IMAGE_SCHEMA = _object(
    "foxglove.CompressedImage",
    {
        "timestamp": {
            "type": "object",
            "title": "time",
            "properties": {
                "sec": {"type": "integer", "minimum": 0},
                "nsec": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
            },
        },
        "frame_id": {"type": "string"},
        "data": {"type": "string", "contentEncoding": "base64"},
        "format": {"type": "string"},
        "sequence": _INTEGER,
        "capture_s": _NUMBER,
        "width": _INTEGER,
        "height": _INTEGER,
    },
)
EVENT_SCHEMA = _object(
    "so101.Event",
    {"time_s": _NUMBER, "name": {"type": "string"}, "detail": {"type": "object"}},
)
