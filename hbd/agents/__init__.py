"""One kind of resource each: start, stop, probe, watch."""
