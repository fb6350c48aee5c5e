"""The type stubs of mujoco describe what the installed library really has."""

import ast
import importlib
from pathlib import Path

import pytest

from sim.world import FollowerWorld


@pytest.mark.parametrize("name", ["mujoco", "mujoco.egl"])
def test_every_name_of_the_stub_exists(name: str, checkout: Path) -> None:
    tail = "__init__.pyi" if name == "mujoco" else "egl.pyi"
    stub = ast.parse((checkout / "typings" / "mujoco" / tail).read_text())
    module = importlib.import_module(name)

    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            assert callable(getattr(module, node.name))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            real = getattr(module, node.name)
            for member in node.body:
                if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
                    assert hasattr(real, member.target.id), f"{node.name}.{member.target.id}"
                if isinstance(member, ast.FunctionDef):
                    assert hasattr(real, member.name), f"{node.name}.{member.name}"


def test_nested_settings_exist() -> None:
    model = FollowerWorld().model

    assert model.vis.global_.offwidth > 0
    assert {"offsamples", "numquads", "numslices", "numstacks"} <= set(dir(model.vis.quality))
    assert model.opt.timestep == 0.001
