"""The same core on virtual time."""
