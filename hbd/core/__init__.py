"""The decisions: events in, effects out. Pure, deterministic, given its time."""
