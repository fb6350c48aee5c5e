import pytest

from robot.errors import NotConnected
from teleop.key_state import HEARTBEAT_S, REPEAT_WINDOW_S, KeyState


def live_state(time_s: float = 0.0) -> KeyState:
    state = KeyState()
    state.confirm(set(), asked_s=time_s, has_focus=True)
    return state


def test_a_key_is_held_from_press_to_release() -> None:
    state = live_state()
    state.press("i", 0.01)

    assert state.held(0.02) == {"i"}
    state.release("i", 0.03)
    assert state.held(0.03 + 1.01 * REPEAT_WINDOW_S) == set()


def test_nothing_is_held_before_the_first_confirmation() -> None:
    state = KeyState()
    state.press("i", 0.0)

    assert state.held(0.0) == set()


def test_auto_repeat_pairs_neither_release_nor_press_anew() -> None:
    state = live_state()
    state.press("i", 0.01)
    for count in range(1, 6):
        state.release("i", 0.03 * count)
        state.press("i", 0.03 * count + 0.001)
        assert state.held(0.03 * count + 0.02) == {"i"}

    assert state.take_presses() == ["i"]


def test_auto_repeat_presses_alone_change_nothing() -> None:
    state = live_state()
    for count in range(5):
        state.press("i", 0.01 + 0.03 * count)

    assert state.take_presses() == ["i"]
    state.release("i", 0.2)
    assert state.held(0.23) == set()


@pytest.mark.parametrize("age", [0.99, 1.01])
def test_keys_are_released_once_the_heartbeat_is_too_old(age: float) -> None:
    state = live_state()
    state.press("i", 0.01)

    assert state.held(age * HEARTBEAT_S) == ({"i"} if age < 1 else set())


def test_a_key_held_through_a_stall_must_be_pressed_anew() -> None:
    state = live_state()
    state.press("i", 0.01)
    state.held(0.5)
    state.confirm({"i"}, asked_s=0.5, has_focus=True)
    state.press("i", 0.51)  # auto-repeat of the finger that never left the key

    assert state.held(0.52) == set()
    state.release("i", 0.53)
    state.press("i", 0.6)
    assert state.held(0.61) == {"i"}


def test_a_stall_counts_even_when_nobody_looked_during_it() -> None:
    state = live_state()
    state.press("i", 0.01)
    state.confirm({"i"}, asked_s=1.0, has_focus=True)

    assert state.held(1.0) == set()


def test_focus_loss_releases_and_coming_back_does_not_resume() -> None:
    state = live_state()
    state.press("i", 0.01)
    state.confirm({"i"}, asked_s=0.05, has_focus=False)

    assert state.held(0.06) == set()
    state.confirm({"i"}, asked_s=0.10, has_focus=True)
    assert state.held(0.11) == set()
    assert state.status(0.11) == "keys live"


def test_keys_pressed_in_another_window_move_nothing_and_count_as_no_press() -> None:
    state = live_state()
    state.confirm(set(), asked_s=0.05, has_focus=False)
    state.press("i", 0.06)
    state.press("q", 0.06)

    assert state.held(0.07) == set()
    assert state.take_presses() == []
    assert state.status(0.07) == "keys paused: another window has the focus"


def test_a_release_that_never_arrived_is_noticed_by_the_display() -> None:
    state = live_state()
    state.press("i", 0.01)
    state.press("j", 0.01)
    state.confirm({"i"}, asked_s=0.05, has_focus=True)

    assert state.held(0.06) == {"i"}


def test_a_key_pressed_after_the_display_was_asked_is_kept() -> None:
    state = live_state()
    state.press("i", 0.051)
    state.confirm(set(), asked_s=0.05, has_focus=True)

    assert state.held(0.06) == {"i"}


@pytest.mark.parametrize("modifier", ["ctrl", "alt", "cmd", "ctrl_r"])
def test_no_key_moves_while_a_modifier_is_down(modifier: str) -> None:
    state = live_state()
    state.press("i", 0.01)
    state.press(modifier, 0.02)
    state.press("c", 0.03)

    assert state.held(0.04) == set()


def test_ctrl_c_leaves_no_press_of_c_behind() -> None:
    state = live_state()
    state.press("ctrl", 0.01)
    state.press("c", 0.02)
    state.release("ctrl", 0.03)

    assert state.held(0.03 + 1.01 * REPEAT_WINDOW_S) == set()
    assert "c" not in state.take_presses()


def test_failure_releases_for_good_and_keeps_the_first_reason() -> None:
    state = live_state()
    state.press("i", 0.01)
    first = NotConnected("the display is gone")
    state.fail(first)
    state.fail(NotConnected("later"))
    state.confirm({"i"}, asked_s=0.02, has_focus=True)
    state.press("j", 0.03)

    assert state.held(0.04) == set()
    assert state.failure is first
    assert "the display is gone" in state.status(0.04)


def test_presses_are_told_once_and_in_order() -> None:
    state = live_state()
    state.press("q", 0.01)
    state.press("!", 0.02)

    assert state.take_presses() == ["q", "!"]
    assert state.take_presses() == []
