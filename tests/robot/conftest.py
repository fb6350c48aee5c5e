import importlib.util
import sys
from pathlib import Path

import pytest

# Tests are no package (LeRobot's draccus installs a top-level `tests`), so the bench is loaded by
# its path.
_spec = importlib.util.spec_from_file_location(
    "arm_bench", Path(__file__).with_name("arm_bench.py")
)
assert _spec is not None
assert _spec.loader is not None
arm_bench = importlib.util.module_from_spec(_spec)
sys.modules["arm_bench"] = arm_bench
_spec.loader.exec_module(arm_bench)


@pytest.fixture
def bench() -> "arm_bench.ArmBench":
    return arm_bench.ArmBench()
