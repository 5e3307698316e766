"""The errors hbd raises.

    HbdError
    ├── ConfigError     the operator's files: every finding, with its place (config.findings)
    ├── Refused         an operator's request that cannot be done now, and why
    ├── WireError       bytes from outside that are no heartbeat message; counted, never fatal
    └── EdgeError       the kernel, systemd or the bus did not do what was asked
"""


class HbdError(Exception):
    """Any error that hbd raises on purpose. The text is for the operator."""


class Refused(HbdError):  # noqa: N818 — it is an answer, not a fault
    """An operator's request that cannot be done now; the text says why."""


class WireError(HbdError):
    """Bytes that are not a heartbeat message of this cluster."""


class EdgeError(HbdError):
    """The kernel, systemd or the bus refused or failed an action; the text says which and why."""
