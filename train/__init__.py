"""From a dataset to a checkpoint: the frame cache, the recipe, the trainer.

Reads LeRobotDataset v3.0 folders and writes checkpoints in LeRobot's layout. Knows nothing of how
the data was recorded or how the policy will be executed; never touches a device.
"""
