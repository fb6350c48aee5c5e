import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from arm_bench import ArmBench

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
def bench() -> "ArmBench":
    made: ArmBench = arm_bench.ArmBench()
    return made
