import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.plans import (
    Failed,
    Observation,
    Plan,
    PlanArray,
    Ready,
    Reset,
    Stop,
    check_actions,
    decode_from_policy,
    decode_to_policy,
    encode,
)
from robot.errors import ConfigError

PLAN = Plan(7, 1.5, 0.4, 0.5, np.array([[0.0] * 6, [10.0] * 6, [30.0] * 6]), 0.02)


def test_a_plan_survives_the_wire() -> None:
    found = decode_from_policy(encode(PLAN))

    assert isinstance(found, Plan)
    assert np.array_equal(found.actions_deg, PLAN.actions_deg)
    assert (found.generation, found.observation_s, found.progress_s) == (7, 1.5, 0.4)
    assert (found.step_s, found.inference_s) == (0.5, 0.02)


def test_an_observation_survives_the_wire() -> None:
    images = {"wrist": b"\xff\xd8\xff\xd9", "front": b""}
    sent = Observation(3, 1.0, 0.5, np.arange(6, dtype=np.float64), images)

    found = decode_to_policy(encode(sent))

    assert isinstance(found, Observation)
    assert np.array_equal(found.state_deg, np.arange(6.0))
    assert found.images == images


@pytest.mark.parametrize("message", [Reset(5), Stop()])
def test_commands_survive_the_wire(message: Reset | Stop) -> None:
    assert decode_to_policy(encode(message)) == message


@pytest.mark.parametrize("message", [Ready(24, 12, 0.03, [0.1]), Failed("no", True)])
def test_answers_survive_the_wire(message: Ready | Failed) -> None:
    assert decode_from_policy(encode(message)) == message


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_never_taken_for_a_message(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_from_policy(data)


@given(st.integers(1, len(encode(PLAN)) - 1))
def test_a_truncated_plan_is_refused(length: int) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_from_policy(encode(PLAN)[:length])


@pytest.mark.parametrize(
    ("progress_s", "expected"),
    [(0.0, 0.0), (0.4, 0.0), (0.65, 5.0), (0.9, 10.0), (1.15, 20.0), (1.4, 30.0), (9.0, 30.0)],
)
def test_a_plan_is_linear_between_actions_and_held_outside(
    progress_s: float, expected: float
) -> None:
    assert PLAN.value_deg(progress_s).tolist() == pytest.approx([expected] * 6)


def test_a_plan_of_one_action_is_that_action() -> None:
    plan = Plan(1, 0.0, 0.0, 0.1, np.full((1, 6), 3.0))

    assert plan.last_progress_s == 0.0
    assert plan.value_deg(5.0).tolist() == [3.0] * 6


@pytest.mark.parametrize(
    "actions", [np.zeros((3, 7)), np.zeros(6), np.zeros((0, 6)), np.full((2, 6), np.nan)]
)
def test_actions_that_are_no_chunk_are_refused(actions: PlanArray) -> None:
    with pytest.raises(ConfigError, match="the policy gave actions"):
        check_actions(actions)
