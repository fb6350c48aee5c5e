"""Pictures of the twin's world: what its cameras see, as JPEG, and finer ones for documents.

Rendering is on the processor where there is no graphics card, so a frame costs what is drawn: no
shadows, reflections or multisampling for the cameras. A `Renderer` belongs to the thread that made
it, as its OpenGL context does.
"""

import os
from types import TracebackType
from typing import Protocol, Self

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from robot.errors import ConfigError
from robot.joints import FloatVector

CAMERAS = ("wrist", "front")

Image = NDArray[np.uint8]

_MAX_GEOMS = 500


class _GlContext(Protocol):
    def make_current(self) -> None: ...
    def free(self) -> None: ...


class Renderer:
    """Draws frames of one size of a model's named cameras; close it in the thread that made it.

    Args:
        model: the world's model; it is only read.
        width: of the frame, pixels.
        height: of the frame, pixels.
        is_fine: with shadows and smooth edges, many times slower: for pictures in documents.
    """

    def __init__(
        self, model: mujoco.MjModel, width: int, height: int, *, is_fine: bool = False
    ) -> None:
        own = model.__copy__()  # buffer size and multisampling are read from the model
        own.vis.global_.offwidth, own.vis.global_.offheight = width, height
        own.vis.quality.offsamples = 8 if is_fine else 0
        if not is_fine:
            own.vis.quality.numquads, own.vis.quality.numslices, own.vis.quality.numstacks = (
                1,
                12,
                1,
            )
        self._model = own
        self._data = mujoco.MjData(own)
        self._gl = _open_gl(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(own, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(own, _MAX_GEOMS)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = is_fine
        self._scene.flags[mujoco.mjtRndFlag.mjRND_HAZE] = False
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = (
            1,
            1,
            1,
            0,
            is_fine,
            0,
        )  # 3 are collision boxes, 4 screws and seams
        self._option.sitegroup[:] = 0
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self._upside_down: Image = np.empty((height, width, 3), dtype=np.uint8)

    def render_rgb(self, qpos: FloatVector, camera_name: str) -> Image:
        """Draw the world with joints and blocks at `qpos`; shape (height, width, 3), red first."""
        camera = mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = self._camera_id(camera_name)
        return self._draw(qpos, camera)

    def render_view(
        self,
        qpos: FloatVector,
        *,
        look_at_m: FloatVector,
        distance_m: float,
        azimuth_deg: float,
        elevation_deg: float,
    ) -> Image:
        """Draw the world from a free place; shape (height, width, 3), red first."""
        camera = mujoco.MjvCamera()
        camera.lookat[:] = look_at_m
        camera.distance, camera.azimuth, camera.elevation = distance_m, azimuth_deg, elevation_deg
        return self._draw(qpos, camera)

    def render_jpeg(self, qpos: FloatVector, camera_name: str, quality: int = 90) -> bytes:
        """Draw a frame and encode it as a camera would."""
        return encode_jpeg(self.render_rgb(qpos, camera_name), quality)

    def close(self) -> None:
        """Free the OpenGL context; may be called twice."""
        self._context.free()
        self._gl.free()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _camera_id(self, name: str) -> int:
        index = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_CAMERA, name)
        if index < 0:
            raise ConfigError(
                f"the twin has no camera {name!r}; its cameras are {', '.join(CAMERAS)}"
            )
        return int(index)

    def _draw(self, qpos: FloatVector, camera: mujoco.MjvCamera) -> Image:
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)  # lights and cameras fixed to bodies follow
        mujoco.mj_camlight(self._model, self._data)
        self._gl.make_current()
        every = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(
            self._model, self._data, self._option, None, camera, every, self._scene
        )
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(self._upside_down, None, self._rectangle, self._context)
        return np.ascontiguousarray(self._upside_down[::-1])


def halved(image: Image) -> Image:
    """Scale a picture to half its width and height, each pixel the mean of four."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False)


def encode_jpeg(image: Image, quality: int = 90) -> bytes:
    """Encode a picture, shape (height, width, 3), red first."""
    done, buffer = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ConfigError(f"OpenCV could not encode a picture of shape {image.shape}")
    return buffer.tobytes()


def encode_png(image: Image) -> bytes:
    """Encode a picture without loss, shape (height, width, 3), red first."""
    done, buffer = cv2.imencode(".png", image[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise ConfigError(f"OpenCV could not encode a picture of shape {image.shape}")
    return buffer.tobytes()


def _open_gl(width: int, height: int) -> _GlContext:
    """Open an OpenGL context without a window: EGL, or OSMesa if `MUJOCO_GL` asks for it."""
    try:
        # Which library to load is known only now.
        if os.environ.get("MUJOCO_GL", "").lower() == "osmesa":
            from mujoco import osmesa

            return osmesa.GLContext(width, height)
        from mujoco import egl

        return egl.GLContext(width, height)
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        raise ConfigError(
            f"cannot draw the twin's cameras without an OpenGL library ({error}); "
            "install one (Debian, Ubuntu: apt install libegl1 libgl1-mesa-dri)"
        ) from error
