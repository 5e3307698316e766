"""The edges against the real thing."""
