# Stubs for what teleop/x_keyboard.py calls of pynput 1.8.
