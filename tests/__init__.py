"""The tests of hbd; `tests.lab` is also the two-machine lab behind ./demo."""
