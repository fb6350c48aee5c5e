"""How a command ends, as a number: whether trying again can help, and who has to do something."""

from collections.abc import Generator
from contextlib import contextmanager

from robot.errors import (
    CalibrationMismatch,
    ConfigError,
    NotConnected,
    So101Error,
    StorageFull,
)

FAILED, REFUSED, INTERRUPTED = 1, 2, 130

# What the person puts right before trying again; any other error befell work that had begun.
REFUSALS = (ConfigError, NotConnected, CalibrationMismatch, StorageFull)


class RunFailed(So101Error):
    """What would be a refusal, had the arm not been driven when it happened."""


@contextmanager
def under_way() -> Generator[None]:
    """Make refusals of the block failures: an arm was moving when they happened."""
    try:
        yield
    except REFUSALS as error:
        raise RunFailed(str(error)) from error
