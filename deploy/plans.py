"""The messages between the control loop and whoever computes plans, and their msgpack.

Progress is the time, in seconds, that plans have been executed so far: it stands still while
nothing is executed (cold start, starvation, pause). An observation carries the progress at which it
was taken, its plan carries the same number back, and the loop reads the plan at (progress now -
progress then). So a late plan starts at the right action by construction: no latency has to be
estimated for that.
"""

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from robot.errors import ConfigError
from robot.joints import FloatVector

PlanArray = NDArray[np.float64]  # shape (H, 6): one joint vector a policy step


class Observation(msgspec.Struct, frozen=True, tag=True):
    """What the policy is asked about."""

    generation: int  # of the request; the plan must carry the same
    observation_s: float  # time of the joint sample
    progress_s: float  # progress clock at that time
    state_deg: FloatVector  # shape (6,)
    images: dict[str, bytes]  # newest JPEG of each camera


class Plan(msgspec.Struct, frozen=True, tag=True):
    """A chunk of actions: `actions_deg[k]` is due when progress is `progress_s + k * step_s`."""

    generation: int
    observation_s: float
    progress_s: float
    step_s: float  # 1 / fps of the dataset the policy was trained on
    actions_deg: PlanArray  # shape (H, 6), degrees and gripper percent
    inference_s: float = 0.0  # how long the policy took, for the statistics

    @property
    def last_progress_s(self) -> float:
        """Progress at which the last action is due; beyond it the plan says nothing."""
        return self.progress_s + (len(self.actions_deg) - 1) * self.step_s

    def value_deg(self, progress_s: float) -> FloatVector:
        """Return the plan at a progress, shape (6,): linear between actions, held outside them."""
        last = len(self.actions_deg) - 1
        index = min(max((progress_s - self.progress_s) / self.step_s, 0.0), float(last))
        low = min(int(index), max(last - 1, 0))
        high = min(low + 1, last)
        weight = index - low
        value: FloatVector = (1.0 - weight) * self.actions_deg[low] + weight * self.actions_deg[
            high
        ]
        return value


class Reset(msgspec.Struct, frozen=True, tag=True):
    """Start of a rollout: forget what was, and seed the sampling."""

    seed: int


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Close the policy process."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The policy is loaded and warm."""

    chunk_steps: int  # H
    execute_steps: int  # n_action_steps of the checkpoint
    step_s: float
    warmup_s: list[float]  # duration of each warm-up inference


class Heartbeat(msgspec.Struct, frozen=True, tag=True):
    """The policy process is alive and idle."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The policy process cannot go on; `sentence` is what a person should read."""

    sentence: str
    is_config_error: bool


ToPolicy = Observation | Reset | Stop
FromPolicy = Ready | Plan | Heartbeat | Failed


def check_actions(actions_deg: PlanArray) -> None:
    """Refuse a chunk that is not a finite array of shape (H, 6).

    Raises:
        ConfigError: says what came instead.
    """
    if actions_deg.ndim != 2 or actions_deg.shape[0] < 1 or actions_deg.shape[1] != 6:
        raise ConfigError(
            f"the policy gave actions of shape {actions_deg.shape} where (steps, 6) is needed; "
            "train it on a dataset of a six-joint SO-101"
        )
    if not bool(np.isfinite(actions_deg).all()):
        raise ConfigError("the policy gave actions that are not finite numbers; train it again")


def _encode_array(value: object) -> object:
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value, dtype="<f8")
        return [list(array.shape), array.tobytes()]
    raise NotImplementedError(f"cannot send a {type(value).__name__}")


def _decode_array(wanted: type, value: object) -> object:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], bytes):
        shape, data = value
        return np.frombuffer(data, dtype="<f8").reshape(shape)
    raise msgspec.ValidationError(f"expected an array for {wanted}")


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_encode_array)
_TO_POLICY: Final[msgspec.msgpack.Decoder[ToPolicy]] = msgspec.msgpack.Decoder(
    ToPolicy, dec_hook=_decode_array
)
_FROM_POLICY: Final[msgspec.msgpack.Decoder[FromPolicy]] = msgspec.msgpack.Decoder(
    FromPolicy, dec_hook=_decode_array
)


def encode(message: ToPolicy | FromPolicy) -> bytes:
    """Return the message as msgpack."""
    return _ENCODER.encode(message)


def decode_to_policy(data: bytes) -> ToPolicy:
    """Read a message of the loop's side; raises msgspec.ValidationError on anything else."""
    return _TO_POLICY.decode(data)


def decode_from_policy(data: bytes) -> FromPolicy:
    """Read a message of the policy's side; raises msgspec.ValidationError on anything else."""
    return _FROM_POLICY.decode(data)
