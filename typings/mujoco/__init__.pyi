"""What this project calls of mujoco 4, which is published without types."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int32]

class _Option:
    timestep: float
    disableflags: int
    enableflags: int

class _Global:
    offwidth: int
    offheight: int

class _Quality:
    offsamples: int
    numquads: int
    numslices: int
    numstacks: int

class _Visual:
    global_: _Global
    quality: _Quality

class _Contact:
    dist: float

class _BodyView:
    id: int
    jntadr: _Integers
    mass: _Floats

class _JointView:
    qposadr: _Integers

class _SiteView:
    xpos: _Floats
    xmat: _Floats

class MjModel:
    opt: _Option
    vis: _Visual
    nq: int
    nv: int
    dof_frictionloss: _Floats
    dof_damping: _Floats
    dof_armature: _Floats
    jnt_range: _Floats
    jnt_qposadr: _Integers
    geom_bodyid: _Integers
    geom_group: _Integers
    geom_size: _Floats
    ngeom: int
    def body(self, name: str | int) -> _BodyView: ...
    def joint(self, name: str | int) -> _JointView: ...
    def __copy__(self) -> MjModel: ...

class _Compiler:
    discardvisual: bool

class _SpecBody:
    sleep: int

class MjSpec:
    compiler: _Compiler
    @staticmethod
    def from_string(xml: str, include: dict[str, bytes] | None = None) -> MjSpec: ...
    def body(self, name: str) -> _SpecBody: ...
    def compile(self) -> MjModel: ...

class MjData:
    qpos: _Floats
    qvel: _Floats
    qfrc_applied: _Floats
    qfrc_bias: _Floats
    geom_xpos: _Floats
    geom_xmat: _Floats
    contact: Sequence[_Contact]
    ncon: int
    time: float
    def __init__(self, model: MjModel) -> None: ...
    def site(self, name: str) -> _SiteView: ...

class MjvOption:
    geomgroup: NDArray[np.uint8]
    sitegroup: NDArray[np.uint8]

class MjvCamera:
    type: int
    fixedcamid: int
    lookat: _Floats
    distance: float
    azimuth: float
    elevation: float

class MjvScene:
    flags: NDArray[np.uint8]
    ngeom: int
    def __init__(self, model: MjModel, maxgeom: int) -> None: ...

class MjrContext:
    def __init__(self, model: MjModel, fontscale: int) -> None: ...
    def free(self) -> None: ...

class MjrRect:
    def __init__(self, left: int, bottom: int, width: int, height: int) -> None: ...

class mjtDisableBit:
    mjDSBL_CONTACT: int

class mjtEnableBit:
    mjENBL_SLEEP: int

class mjtSleepPolicy:
    mjSLEEP_NEVER: int

class mjtFontScale:
    mjFONTSCALE_50: int

class mjtFramebuffer:
    mjFB_OFFSCREEN: int

class mjtRndFlag:
    mjRND_SHADOW: int
    mjRND_REFLECTION: int
    mjRND_HAZE: int

class mjtCamera:
    mjCAMERA_FIXED: int

class mjtObj:
    mjOBJ_CAMERA: int

class mjtCatBit:
    mjCAT_ALL: int

def mj_step(m: MjModel, d: MjData) -> None: ...
def mj_forward(m: MjModel, d: MjData) -> None: ...
def mj_kinematics(m: MjModel, d: MjData) -> None: ...
def mj_comPos(m: MjModel, d: MjData) -> None: ...
def mj_camlight(m: MjModel, d: MjData) -> None: ...
def mj_resetData(m: MjModel, d: MjData) -> None: ...
def mj_setConst(m: MjModel, d: MjData) -> None: ...
def mj_name2id(m: MjModel, type: int, name: str) -> int: ...
def mjv_updateScene(
    m: MjModel, d: MjData, opt: MjvOption, pert: None, cam: MjvCamera, catmask: int, scn: MjvScene
) -> None: ...
def mjr_setBuffer(framebuffer: int, con: MjrContext) -> None: ...
def mjr_render(viewport: MjrRect, scn: MjvScene, con: MjrContext) -> None: ...
def mjr_readPixels(
    rgb: NDArray[np.uint8], depth: NDArray[Any] | None, viewport: MjrRect, con: MjrContext
) -> None: ...
