"""From a checkpoint to goals: inference, plan timing, preflight, evaluation and its statistics.

This room turns what a policy predicts into goals for the one control loop, and says how well it
worked. It must not know how a demonstration is recorded, how a policy is trained, or whether the
arm is real or emulated. torch, lerobot and OpenCV are imported by `policy_runner` alone, which in
real time runs in the policy process only.
"""
