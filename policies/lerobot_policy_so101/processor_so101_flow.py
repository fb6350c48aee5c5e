"""Scaling of joints and goals for `so101_flow` by LeRobot's processors, saved with a checkpoint.

The standard deviations have a floor: a joint that hardly moves in the demonstrations (wrist roll in
a plain pick) would otherwise be scaled so far up that a tenth of a degree looks like a large
change.
"""

from typing import Any

import torch
from lerobot.processor import PolicyProcessorPipeline, make_default_pre_post_processors
from lerobot.utils.constants import ACTION, OBS_STATE

from lerobot_policy_so101.configuration_so101_flow import So101FlowConfig

JOINTS_PER_ARM = 6
GRIPPER = 5  # in each arm's six numbers; in percent where the others are degrees

Stats = dict[str, dict[str, Any]]


def floor_stats(stats: Stats, config: So101FlowConfig) -> Stats:
    """Return a dataset's statistics with joint standard deviations not below the floors."""
    floored = dict(stats)
    for key in (OBS_STATE, ACTION):
        if key in stats:
            std = torch.as_tensor(stats[key]["std"], dtype=torch.float32)
            is_gripper = torch.arange(len(std)) % JOINTS_PER_ARM == GRIPPER
            floor = torch.where(is_gripper, config.std_floor_gripper_pct, config.std_floor_deg)
            floored[key] = {**stats[key], "std": torch.maximum(std, floor)}
    return floored


def make_so101_flow_pre_post_processors(
    config: So101FlowConfig, dataset_stats: Stats | None = None
) -> tuple[PolicyProcessorPipeline, PolicyProcessorPipeline]:
    """Return LeRobot's default pipelines over floored statistics; LeRobot finds this by name."""
    stats = floor_stats(dataset_stats, config) if dataset_stats is not None else None
    return make_default_pre_post_processors(config, stats)
