"""The digital twin: emulated servos that speak real bytes, the world they move, and its cameras.

Tasks and demonstrators belong to it. It knows `robot` for the joint order, the register table and
the arm's model, and no other room: whatever drives the twin comes in as bytes on a port, exactly as
it would to a real arm.
"""
