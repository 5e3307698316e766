"""Which signals of D-Bus are wanted: match rules. Facts: D-Bus specification ("Match Rules")."""

from __future__ import annotations

from dataclasses import dataclass

from hbd.dbusio_codec import Message


@dataclass(frozen=True, slots=True)
class Rule:
    """Which signals are wanted; None matches everything (D-Bus specification, "Match Rules")."""

    sender: str | None = None
    path: str | None = None
    path_namespace: str | None = None
    interface: str | None = None
    member: str | None = None
    arg0: str | None = None

    def __str__(self) -> str:
        keys = ("sender", "path", "path_namespace", "interface", "member", "arg0")
        values = {key: getattr(self, key) for key in keys}
        asked = (f"{key}='{value}'" for key, value in values.items() if value is not None)
        return ",".join(["type='signal'", *asked])

    def may_match(self, raw: bytes) -> bool:
        """False if an unparsed signal cannot match, as one of the strings does not even occur in it.

        It takes a microsecond, parsing some hundreds: a daemon-reload makes systemd send two signals
        for every unit of the machine, and those that nobody wants must not delay a heartbeat.
        """
        values = (self.path, self.path_namespace, self.interface, self.member, self.arg0)
        return all(value is None or value.encode() in raw for value in values)

    def matches(self, signal: Message) -> bool:
        """All but the sender, which needs to know who owns a name."""
        return (
            self.path in (None, signal.path)
            and (self.path_namespace is None or _is_below(signal.path, self.path_namespace))
            and self.interface in (None, signal.interface)
            and self.member in (None, signal.member)
            and (self.arg0 is None or (bool(signal.body) and signal.body[0] == self.arg0))
        )


def _is_below(path: str, root: str) -> bool:
    return path == root or root == "/" or path.startswith(root + "/")
