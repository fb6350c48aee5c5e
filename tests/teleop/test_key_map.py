import numpy as np

from teleop.key_map import (
    BLOCKING_MODIFIERS,
    JOG_ACTIONS,
    STOP_KEYS,
    TORQUE_OFF_KEYS,
    JogAxis,
    jog_fractions,
    legend,
)

# Keys that mean something while recording or deploying (LeRobot, leLab, MakerMods, leisaac).
OPERATORS_KEYS = set("nrqsfb! ") | {
    *("left", "right", "esc", "space", "tab", "enter", "backspace", "delete")
}


def test_every_axis_has_a_key_for_each_direction() -> None:
    directions = {(action.axis, action.sign) for action in JOG_ACTIONS}

    assert directions == {(axis, sign) for axis in JogAxis for sign in (-1, 1)}


def test_no_key_does_two_things() -> None:
    keys = [key for action in JOG_ACTIONS for key in action.keys]
    keys += [*STOP_KEYS, *TORQUE_OFF_KEYS, *BLOCKING_MODIFIERS]

    assert len(keys) == len(set(keys))


def test_jog_keys_leave_the_keys_of_recording_alone() -> None:
    assert not {key for action in JOG_ACTIONS for key in action.keys} & OPERATORS_KEYS


def test_opposite_keys_cancel() -> None:
    np.testing.assert_array_equal(jog_fractions({"i", "k"}), np.zeros(6))


def test_two_names_of_one_motion_count_once() -> None:
    assert jog_fractions({"y", "page_up"})[JogAxis.UP] == 1


def test_unknown_keys_move_nothing() -> None:
    np.testing.assert_array_equal(jog_fractions({"z", "shift", "esc"}), np.zeros(6))


def test_legend_names_every_key_and_fits_a_terminal() -> None:
    text = legend()

    assert all(len(line) <= 80 for line in text.splitlines())
    assert all(action.label in text and action.keys[0] in text for action in JOG_ACTIONS)
