"""The policies of this project, as LeRobot plug-ins.

LeRobot finds this distribution by its name (`lerobot_policy_*`) and imports it; importing it
registers the configurations, and the file names `configuration_X`, `modeling_X`, `processor_X` lead
LeRobot to the rest. So LeRobot's own trainer, loader and rollout run these policies. Nothing here
may know of the other rooms of the project.
"""

from lerobot_policy_so101.configuration_so101_flow import So101FlowConfig

__all__ = ["So101FlowConfig"]
