"""The digital twin: emulated servos that speak real bytes, the world they move, its cameras, tasks and demonstrators.

It knows `robot` for the joint order, the register table and the arm's model, and no other room:
whatever drives the twin comes in as bytes on a port, exactly as it would to a real arm.
"""
