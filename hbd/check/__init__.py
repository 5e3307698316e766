"""hbctl check: what is wrong with a configuration, and with the machine that is to run it."""
