"""What every test shares: no network, no file of the person's home, one way to draw.

The environment is set when this file is imported, before any test imports lerobot, mujoco or
numpy: they read it at import.
"""

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Short, for the path of a local socket may not exceed 107 bytes; one a process (xdist has two).
_HOME = Path(tempfile.mkdtemp(prefix="so101t-"))

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = str(_HOME / "hf")
os.environ["HF_LEROBOT_HOME"] = str(_HOME / "hf" / "lerobot")
os.environ["HF_LEROBOT_CALIBRATION"] = str(_HOME / "hf" / "lerobot" / "calibration")
os.environ["XDG_RUNTIME_DIR"] = str(_HOME / "run")
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")
(_HOME / "run").mkdir(mode=0o700)

# The same examples at every run, so that a failure is a change in the code; no deadline, because
# two cores are shared.
settings.register_profile(
    "so101", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# For a run that only asks which lines are run.
settings.register_profile("few", settings.get_profile("so101"), max_examples=5)
settings.load_profile("so101")

CHECKOUT = Path(__file__).resolve().parent.parent

# Tests are no package (LeRobot's draccus installs a top-level `tests`): loaded by its path.
_spec = importlib.util.spec_from_file_location(
    "command_bench", Path(__file__).with_name("command_bench.py")
)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules["command_bench"] = _module
_spec.loader.exec_module(_module)


def pytest_unconfigure() -> None:
    """Remove this process's folder; xdist's controller and each of its workers has one."""
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture
def short_path() -> Path:
    """Return an empty folder for local sockets: the path of `tmp_path` is too long under xdist."""
    return Path(tempfile.mkdtemp(dir=_HOME))


@pytest.fixture
def checkout() -> Path:
    """Return the root of the checkout."""
    return CHECKOUT
