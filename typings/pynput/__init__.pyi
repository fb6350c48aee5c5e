# Stubs for what teleop/x_keyboard.py calls of pynput 1.8; tests/teleop/test_keys.py compares them with the runtime.
