"""The record room: keep what happened, and derive from it what trains a policy.

The episode journal (`journal`) is the truth: one append-only MCAP file an episode. Everything else
is derived from it and can be rebuilt: the LeRobotDataset (`dataset`), the goals of a replay
(`replay`), a contact sheet (`contact_sheet`). The room knows ticks and frames from `robot`; it must
not know who drove the arm (a leader, a key, a policy), nor whether the arm was real or a twin.
"""
