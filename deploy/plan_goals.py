"""The goal source of a policy rollout: observes, asks for plans, follows the plan in use.

An observation is made as a row of the dataset was (record/align.py): its time is that of the
picture, and the joints and the progress clock are interpolated to that time. So a camera's age
shifts the plan by itself and needs no compensation.
"""

from collections import deque
from collections.abc import Mapping
from statistics import median

import numpy as np

from deploy.plan_log import PlanLog
from deploy.planner import Planner
from deploy.plans import Observation
from deploy.scheduler import PlanScheduler
from robot.errors import PolicyFailed
from robot.frames import CameraReader
from robot.joint_sample import JointSample
from robot.joints import GRIPPER, JOINTS, FloatVector
from robot.loop import Goal

DELAYS_KEPT = 64  # a window, not an all-time maximum: one slow plan must not count for ever
HISTORY_TICKS = 64  # at 100 Hz longer than a picture may be old


class PlanGoals:
    """Goals from plans (`GoalSource`): never blocks, never reads the clock itself.

    Until the first plan the pose of the first sample is held. Between plans see `PlanScheduler`.
    When no plan comes for `give_up_s`, `goal` raises PolicyFailed and the loop's owner releases the
    arm.
    """

    def __init__(
        self,
        *,
        planner: Planner,
        cameras: Mapping[str, CameraReader],
        rate_hz: float,
        fade_s: float = 0.15,
        max_image_age_s: float = 0.15,
        give_up_s: float = 5.0,
        log: PlanLog | None = None,
    ) -> None:
        self._planner = planner
        self._cameras = dict(cameras)
        self._max_image_age_s = max_image_age_s
        self._give_up_s = give_up_s
        self._scheduler = PlanScheduler(
            rate_hz=rate_hz, execute_steps=planner.execute_steps, fade_s=fade_s
        )
        self.log = PlanLog() if log is None else log
        self._delays_s: deque[float] = deque(maxlen=DELAYS_KEPT)
        self._generation = 0
        self._wanted: int | None = None  # generation of the plan under way
        self._hold_deg: FloatVector | None = None
        self._executed_s = 0.0
        self._not_before_s = 0.0  # older pictures may not start a plan
        self._stale_camera = ""
        self._samples: deque[tuple[FloatVector, FloatVector]] = deque(maxlen=HISTORY_TICKS)
        self._progress: deque[tuple[float, float]] = deque(maxlen=HISTORY_TICKS)

    def reset(self, seed: int) -> None:
        """Start a rollout: forget every plan, seed the policy's sampling. The log goes on."""
        self._scheduler.reset()
        self._planner.reset(seed)
        self._clear_rollout()

    def goal(self, observed: JointSample, now_s: float) -> Goal:
        """Return the goal of this tick."""
        self.log.ticks += 1
        if self._hold_deg is None:
            self._hold_deg = np.array(observed.position_deg)
            self._executed_s = now_s
            self._not_before_s = now_s
        self._samples.append((observed.time_s, observed.position_deg))
        self._take_plan(now_s)
        self._ask_for_plan(now_s)
        switches = self._scheduler.switches
        command_deg = self._scheduler.advance(self._hold_deg)
        if self._scheduler.switches > switches:
            residual_deg = float(np.abs(self._scheduler.residual_deg[:GRIPPER]).max())
            self.log.switch_residual_deg.append(residual_deg)
            self.log.switches += 1
            self._not_before_s = now_s
        self._progress.append((now_s, self._scheduler.progress_s))
        plan = self._scheduler.current
        if plan is not None:
            self.log.plan_age_s.append(now_s - plan.observation_s)
            if self._scheduler.is_starved:
                self.log.starved_ticks += 1
            else:
                self._executed_s = now_s
        if now_s - self._executed_s > self._give_up_s:
            raise PolicyFailed(
                f"no plan came from the policy for {self._give_up_s:.0f} s; the arm is held and "
                "then released "
                f"({self._why_no_plan(now_s)})"
            )
        is_waiting = plan is None
        return Goal(command_deg, now_s if is_waiting else self._executed_s)

    def _take_plan(self, now_s: float) -> None:
        plan = self._planner.poll(now_s)
        if plan is None:
            return
        if plan.generation != self._wanted:
            self.log.dropped_plans += 1
            return
        self._wanted = None
        self.log.plans += 1
        delay_s = now_s - plan.observation_s
        self._delays_s.append(delay_s)
        self.log.observation_to_plan_s.append(delay_s)
        self.log.inference_s.append(plan.inference_s)
        self._scheduler.offer(plan)

    def _ask_for_plan(self, now_s: float) -> None:
        if self._wanted is not None or not self._planner.is_idle():
            return
        delays_s = sorted(self._delays_s)
        p99_s = delays_s[int(0.99 * (len(delays_s) - 1))] if delays_s else 0.0
        median_s = median(delays_s) if delays_s else 0.0
        if not self._scheduler.wants_observation(p99_s, median_s):
            return
        frames = {name: camera.latest() for name, camera in self._cameras.items()}
        taken_s = now_s
        images: dict[str, bytes] = {}
        for name, frame in frames.items():
            if frame is None or now_s - frame.capture_s > self._max_image_age_s:
                self.log.stale_image_ticks += 1
                self._stale_camera = name
                return
            images[name] = frame.jpeg
            taken_s = min(taken_s, frame.capture_s)
        if taken_s < self._not_before_s:
            # a picture from before the last switch, or of the last rollout, would start a plan that
            # is behind
            return
        self.log.image_age_s.append(now_s - taken_s)
        self._stale_camera = ""
        self._generation += 1
        self._wanted = self._generation
        observation = Observation(
            generation=self._generation,
            observation_s=taken_s,
            progress_s=self._progress_at(taken_s),
            state_deg=self._state_at(taken_s),
            images=images,
        )
        self._planner.request(observation, now_s)

    def _state_at(self, time_s: float) -> FloatVector:
        """Interpolate each joint between its own samples; held beyond the ends of what is kept."""
        times_s = np.array([sample[0] for sample in self._samples])
        positions_deg = np.array([sample[1] for sample in self._samples])
        return np.array(
            [
                np.interp(time_s, times_s[:, joint], positions_deg[:, joint])
                for joint in range(len(JOINTS))
            ]
        )

    def _progress_at(self, time_s: float) -> float:
        if not self._progress:
            return self._scheduler.progress_s
        times_s, progress_s = zip(*self._progress, strict=True)
        return float(np.interp(time_s, times_s, progress_s))

    def _why_no_plan(self, now_s: float) -> str:
        if self._stale_camera:
            name = self._stale_camera
            frame = self._cameras[name].latest()
            if frame is None:
                return f"camera {name} has not delivered a picture; check its cable and address"
            age_s = now_s - frame.capture_s
            return f"the newest picture of camera {name} is {age_s:.1f} s old; check its cable"
        return (
            "the inference takes too long on this machine; end other programs, "
            "or take a smaller policy"
        )

    def _clear_rollout(self) -> None:
        self._wanted = None
        self._hold_deg = None
        self._executed_s = 0.0
        self._not_before_s = 0.0
        self._stale_camera = ""
        self._samples.clear()
        self._progress.clear()
        self._delays_s.clear()  # so that a rollout does not depend on the one before
