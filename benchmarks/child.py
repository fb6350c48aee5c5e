"""Helper processes that are told one JSON line at a time and answer with one.

A child ends when its standard input does, so that none outlives the benchmark however that ends.
What it has to say to a person goes to standard error, which is the benchmark's own unless a file is
given.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Self

import msgspec

from robot.errors import NotConnected
from robot.parent_death import die_with_parent

ROOT = Path(__file__).resolve().parent.parent
STOP_DEADLINE_S = 5.0


class Child:
    """One helper: `python -m MODULE WORDS...`; a context manager that ends it."""

    def __init__(
        self,
        module: str,
        *words: str,
        environment: Mapping[str, str] | None = None,
        stderr: IO[bytes] | None = None,
    ) -> None:
        self.name = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=child_environment(environment),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ask[T](self, message: object, answer: type[T], deadline_s: float = 30.0) -> T:
        """Send one line and return the line that answers it.

        Raises:
            NotConnected: the child ended or stayed silent.
        """
        try:
            self._stdin.write(msgspec.json.encode(message) + b"\n")
            self._stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error
        return self.hear(answer, deadline_s)

    def hear[T](self, answer: type[T], deadline_s: float = 30.0) -> T:
        """Return the next line that the child says.

        Raises:
            NotConnected: the child ended or stayed silent.
        """
        if not select.select([self._stdout], [], [], deadline_s)[0]:
            raise NotConnected(f"{self.name} said nothing for {deadline_s:g} s: run it again")
        line = self._stdout.readline()
        if not line:
            raise self._ended()
        return msgspec.json.decode(line, type=answer)

    def close(self) -> None:
        """End the child: ask by closing its input, then insist; may be called twice."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_DEADLINE_S)
        self._stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ended(self) -> NotConnected:
        return NotConnected(f"{self.name} ended unexpectedly (what it said stands above)")


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment with the checkout first on the module path."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(extra or {})}


def begin_child() -> None:
    """Set a helper up: it ends with its parent, and a terminal's Ctrl-C is for the parent alone."""
    die_with_parent(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def serve_lines(answer: Callable[[bytes], object]) -> None:
    """Answer each line of standard input on standard output until the input ends."""
    for line in sys.stdin.buffer:
        say(answer(line))


def say(message: object) -> None:
    """Send one line to the parent."""
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()
