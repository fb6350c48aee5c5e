"""The packaged MJCF of the arm, `model/so101.xml`, read as frames; no physics engine."""

import xml.etree.ElementTree as ET
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from robot.joints import JOINTS, FloatVector

Matrix = NDArray[np.float64]


def moving_bodies() -> list[ET.Element]:
    """Return the six bodies that the joints turn, shoulder to jaw, each about its own z axis."""
    text = (resources.files("robot") / "model" / "so101.xml").read_text()
    bodies = [child_of(child_of(ET.fromstring(text), "worldbody"), "body")]
    while (body := bodies[-1].find("body")) is not None:
        bodies.append(body)
    moving = bodies[1:]
    if [child_of(body, "joint").attrib["name"] for body in moving] != list(JOINTS):
        raise ValueError(
            "model/so101.xml is not the arm this program was built with: six joints in a chain"
        )
    return moving


def frame_of(element: ET.Element) -> Matrix:
    """Return the frame of a body, site or box as its parent sees it, shape (4, 4)."""
    frame = np.eye(4)
    frame[:3, :3] = _rotation(element)
    frame[:3, 3] = vector_of(element, "pos")
    return frame


def child_of(element: ET.Element, tag: str) -> ET.Element:
    """Return the first child of that kind; raises ValueError if there is none."""
    found = element.find(tag)
    if found is None:
        raise ValueError(f"model/so101.xml has no <{tag}> in <{element.tag}>")
    return found


def vector_of(element: ET.Element, name: str) -> FloatVector:
    """Return an attribute of numbers."""
    return np.array([float(word) for word in element.attrib[name].split()])


def _rotation(element: ET.Element) -> Matrix:
    """Read a `quat` attribute (w x y z, any length; absent: no rotation) as a matrix."""
    if "quat" not in element.attrib:
        return np.eye(3)
    quat = vector_of(element, "quat")
    w, x, y, z = quat / np.linalg.norm(quat)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
