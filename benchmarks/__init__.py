"""Side-by-side measurements: this project beside LeRobot, the servo SDK and rustypot.

Everything is timed from outside the code under test: by an emulated bus and a camera replay that
are processes of their own (`arms_process`, `camera_replay`), never by the contestants. The
incumbent runs in a process of its own (`lerobot_side` is the only module that imports lerobot), and
nothing of it is ever loaded where this project's loop runs. Imports any room; nothing but `scripts`
imports it; it does not ship.
"""
