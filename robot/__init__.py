"""The arm and everything that moves it.

Joints and units, the servo bus, limits, the clock, the one control loop, cameras, calibration
files, rig profiles and run folders. This room knows nothing of people, tasks, datasets or policies,
and never imports torch or lerobot: it is what runs in real time.
"""
