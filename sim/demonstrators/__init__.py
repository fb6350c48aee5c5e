"""Scripted people: hands that move the leader so that the follower does a task."""
