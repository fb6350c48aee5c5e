"""Goal sources a person drives: the leader arm, and a keyboard jog of the gripper.

A source here turns what a person does into goals in degrees and nothing else. It must not know of
limits, ramps, recording or torque: the control loop applies those to every source alike. It imports
`robot` only; `x_keyboard.py` alone touches pynput and the X display, and only when a jog is opened.
"""
