"""hbd: heartbeat's job, done for systemd."""

__version__ = "0.1.0"
