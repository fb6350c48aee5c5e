import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from arm_bench import ArmBench


def _load(name: str) -> ModuleType:
    """Load a bench by its path: tests are no package (LeRobot's draccus installs a `tests`)."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


arm_bench = _load("arm_bench")
_load("other_user")
_load("control_bench")
_load("world_bench")
_load("fault_rig")


@pytest.fixture
def bench() -> "ArmBench":
    made: ArmBench = arm_bench.ArmBench()
    return made
