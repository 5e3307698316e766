"""hbctl, the command line of hbd."""
