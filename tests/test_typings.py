"""The stubs of the servo SDK tell the truth: what they declare is there, with its parameters.

Other stubs have their own tests: tests/teleop/test_keys.py, tests/sim/test_mujoco_stubs.py.
"""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

TYPINGS = Path(__file__).resolve().parent.parent / "typings"
STUBS = sorted(TYPINGS.glob("scservo_sdk/*.pyi"))


def _module_name(stub: Path) -> str:
    parts = stub.relative_to(TYPINGS).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _wrong(where: str, declared: ast.stmt, owner: object) -> list[str]:
    """Return what a declaration says that its owner, a module or a class, does not have."""
    if isinstance(declared, ast.ClassDef):
        if declared.name.startswith("_"):
            return []  # a Protocol of the stub's own
        found = getattr(owner, declared.name, None)
        if not inspect.isclass(found):
            return [f"{where}.{declared.name} is no class"]
        inside = [item for item in declared.body if isinstance(item, ast.FunctionDef)]
        return [line for item in inside for line in _wrong(f"{where}.{declared.name}", item, found)]
    if isinstance(declared, ast.FunctionDef):
        name = f"{where}.{declared.name}"
        if not hasattr(owner, declared.name):
            return [f"{name} is not there"]
        try:
            parameters = inspect.signature(getattr(owner, declared.name)).parameters
        except ValueError:
            return []  # written in C: no signature to compare
        except TypeError:
            return []  # a property
        takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        named = [each.arg for each in [*declared.args.args, *declared.args.kwonlyargs]]
        missing = [each for each in named if each not in parameters and each != "self"]
        return [] if takes_any else [f"{name} has no parameter {each}" for each in missing]
    if isinstance(declared, ast.AnnAssign) and isinstance(declared.target, ast.Name):
        there = hasattr(owner, declared.target.id) or declared.target.id.startswith("_")
        return [] if there else [f"{where}.{declared.target.id} is not there"]
    return []


@pytest.mark.parametrize("stub", STUBS, ids=_module_name)
def test_a_stub_declares_what_the_module_has(stub: Path) -> None:
    name = _module_name(stub)
    module = importlib.import_module(name)

    wrong = [
        line for item in ast.parse(stub.read_text()).body for line in _wrong(name, item, module)
    ]

    assert wrong == []
