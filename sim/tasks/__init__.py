"""Tasks of the twin: where things stand at the start of an episode, and when it has succeeded."""
