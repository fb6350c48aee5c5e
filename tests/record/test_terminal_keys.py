import os
import pty
import termios
from collections.abc import Iterator

import pytest

from record.episode import Event, State
from record.terminal_keys import TerminalKeys, event_for_key, split_keys
from robot.errors import ConfigError


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A real terminal: (the person's end, the program's end)."""
    person, program = pty.openpty()
    yield person, program
    os.close(person)
    os.close(program)


def test_reads_keys_as_they_are_pressed(terminal: tuple[int, int]) -> None:
    person, program = terminal
    with TerminalKeys(program) as keys:
        assert keys.poll() == []
        os.write(person, b"n\x1b[C\x1b[Ds ")

        assert keys.poll() == ["n", "right", "left", "s", "space"]
        assert keys.poll() == []


def test_a_lone_escape_is_esc(terminal: tuple[int, int]) -> None:
    person, program = terminal
    with TerminalKeys(program) as keys:
        os.write(person, b"\x1b")

        assert keys.poll() == ["esc"]


def test_gives_the_terminal_back_after_an_error(terminal: tuple[int, int]) -> None:
    _, program = terminal
    before = termios.tcgetattr(program)
    seen: list[object] = []

    def use() -> None:
        with TerminalKeys(program):
            seen.append(termios.tcgetattr(program))
            raise InterruptedError

    with pytest.raises(InterruptedError):
        use()

    assert seen != [before]
    assert termios.tcgetattr(program) == before


def test_without_a_terminal_it_says_what_to_do() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(ConfigError, match="unattended"), TerminalKeys(read):
            pass
    finally:
        os.close(read)
        os.close(write)


def test_foreign_sequences_are_left_out_whole() -> None:
    assert split_keys(b"\x1b[15~q\x1b[1;5Cr\x1bOC\x00\xc3\xa4") == ["q", "r", "right"]


def test_keys_mean_what_they_mean_in_lerobot() -> None:
    assert event_for_key("right", State.RECORDING) is Event.STOP
    assert event_for_key("right", State.RESET) is Event.START
    assert event_for_key("left", State.RECORDING) is Event.DISCARD
    assert event_for_key("esc", State.RESET) is Event.QUIT
    assert event_for_key("space", State.RECORDING) is None
