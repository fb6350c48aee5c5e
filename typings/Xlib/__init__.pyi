# Stubs for what teleop/x_keyboard.py and its tests call of python-xlib 0.33.
from Xlib import X as X
