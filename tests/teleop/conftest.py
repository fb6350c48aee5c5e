import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xvfb_desktop import Desktop

# Tests are no package (LeRobot's draccus installs a top-level `tests`): loaded by its path.
_spec = importlib.util.spec_from_file_location(
    "xvfb_desktop", Path(__file__).with_name("xvfb_desktop.py")
)
assert _spec is not None
assert _spec.loader is not None
xvfb_desktop = importlib.util.module_from_spec(_spec)
sys.modules["xvfb_desktop"] = xvfb_desktop
_spec.loader.exec_module(xvfb_desktop)


@pytest.fixture(scope="module")
def desktop() -> Iterator["Desktop"]:
    """Give an X server that the tests of one file leave as they found it."""
    with xvfb_desktop.running_desktop() as shared:
        yield shared


@pytest.fixture
def own_desktop() -> Iterator["Desktop"]:
    """Give an X server that the test may kill."""
    with xvfb_desktop.running_desktop() as own:
        yield own
