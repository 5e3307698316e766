"""Worked examples: whole cores at hand-given times, each test one story from beginning to end."""
