"""Wiring and conversation: one `<command>_command.py` each, run by `python -m scripts COMMAND`.

The only room that sees all others. A command parses its arguments, opens a rig, hands the parts to
each other, and talks to the person. Nothing here is imported by another room.
"""
