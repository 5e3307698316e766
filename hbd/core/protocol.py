"""The messages of heartbeat 3.0.6: which fields each kind has, in the order of the wire.

What every message carries besides (src, seq, ts …) is the channel's business. Facts: heartbeat 3.0.6,
observed between two daemons; number bases differ from field to field and are kept as they are.
"""

from __future__ import annotations

from hbd.core import message as f
from hbd.core.message import Message, Value, list_of

Fields = tuple[tuple[str, Value], ...]

STATUS = "status"
STARTING = "starting"
RESOURCE = "resource"
ASK_RESOURCES = "ask_resources"
HB_TAKEOVER = "hb_takeover"
SHUTDONE = "shutdone"
STONITH = "stonith"
REQNODES = "reqnodes"
REPNODES = "repnodes"
REXMIT = "NS_rexmit"
NAK = "NS_nak_rexmit"
ACK = "NS_ackmsg"
IP_REQUEST = "ip-request"
IP_REQUEST_RESP = "ip-request-resp"
CLIENT_STATUS = "hbapi-clstat"
NUM_PING_NODES = "num_ping_nodes"
YOU_ARE_DEAD = "you_are_dead"
ABORT_GIVEUP = "abort_giveup"

HBD_ASK = "NS_hbd_ask"
HBD_TELL = "NS_hbd_tell"
"""Between hbd nodes only, and unknown to heartbeat 3.0.6: see retelling.py."""
TOKEN = "token"
SKIP = "skip"
NOW = "now"
BOOT = "boot"
PAGE = "page"

HBD = "hbd"
"""The field that heartbeat 3.0.6 does not know: see report.py."""


def status(st: str, deadtime_ms: int, report: str) -> Fields:
    """Sent every keepalive and at every change."""
    return ((f.T, STATUS), (f.ST, st), (f.DT, f"{deadtime_ms:x}"), (f.PROTOCOL, "1"), (HBD, report))


def starting() -> Fields:
    """Once, right after the first active status: who holds what?"""
    return ((f.T, STARTING),)


def resource(hold: str, stable: bool, info: str = "") -> Fields:
    """A full report of what the sender holds, in its own terms."""
    fields: Fields = (
        (f.T, RESOURCE), (f.RSC_HOLD, hold), (f.RTYPE, "full"), (f.ISSTABLE, "1" if stable else "0"),
    )  # fmt: skip
    return (*fields, (f.INFO, info)) if info else fields


def ask_resources(hold: str, info: str) -> Fields:
    """One step of the standby handshake: `me`, `other` or `done`."""
    return ((f.T, ASK_RESOURCES), (f.RSC_HOLD, hold), (f.INFO, info))


def hb_takeover(hold: str) -> Fields:
    """Asks every other node to go standby with the mirrored set."""
    return ((f.T, HB_TAKEOVER), (f.RSC_HOLD, hold))


def shutdone() -> Fields:
    """Everything is released; the sender leaves."""
    return ((f.T, SHUTDONE), (f.ST, "dead"))


def stonith(node: str, result: str) -> Fields:
    """What became of fencing a node that died."""
    return ((f.T, STONITH), (f.NODE, node), (f.RESULT, result))


def reqnodes(dest: str) -> Fields:
    """Asks which nodes the cluster has."""
    return ((f.T, REQNODES), (f.DEST, dest))


def repnodes(dest: str, nodes: tuple[str, ...]) -> Fields:
    """All normal nodes; a name left out would be deleted by a 3.0.6 receiver."""
    return ((f.DEST, dest), (f.T, REPNODES), (f.NODELIST, list_of(nodes)), (f.DELNODELIST, list_of(())))


def rexmit(dest: str, seq: int) -> Fields:
    """Asks for one number; decimal here, unlike everywhere else."""
    return ((f.T, REXMIT), (f.DEST, dest), (f.FIRSTSEQ, str(seq)), (f.LASTSEQ, str(seq)))


def nak(dest: str, seq: int, reason: str) -> Fields:
    """Refuses a retransmission for good."""
    return ((f.T, NAK), (f.FIRSTSEQ, f"{seq:x}"), (f.DEST, dest), (f.INFO, reason))


def ack(dest: str, seq: int) -> Fields:
    """Everything up to `seq` has come."""
    return ((f.T, ACK), (f.DEST, dest), (f.ACKSEQ, f"{seq:x}"))


def ip_request(group: str) -> Fields:
    """auto_failback legacy: the home node wants its group."""
    return ((f.T, IP_REQUEST), (f.IPADDR, group))


def ip_request_resp(dest: str, group: str) -> Fields:
    """auto_failback legacy: the group was released for its home node."""
    return (
        (f.T, IP_REQUEST_RESP), (f.DEST, dest), (f.IPADDR, group), (f.WEOWN, "yes"), (f.OK, "OK"),
    )  # fmt: skip


_FROM_IPFAIL: Fields = ((f.FROM_ID, "ipfail"), (f.TO_ID, "ipfail"), (f.CLIENT_GEN, "0"))


def client_status(client: str, st: str, info: str) -> Fields:
    """A client of the daemon signs on (`join`) or off (`leave`)."""
    return (
        (f.T, CLIENT_STATUS), (f.ST, st), (f.FROM_ID, client), (f.TO_ID, client), (f.INFO, info),
        (f.CLIENT_GEN, "0"),
    )  # fmt: skip


def num_ping_nodes(dest: str, count: int) -> Fields:
    """ipfail: how many ping nodes answer the sender; decimal."""
    return ((f.T, NUM_PING_NODES), (f.NUM_PING, str(count)), (f.DEST, dest), *_FROM_IPFAIL)


def you_are_dead(dest: str) -> Fields:
    """ipfail: the sender reaches more ping nodes."""
    return ((f.T, YOU_ARE_DEAD), (f.DEST, dest), *_FROM_IPFAIL)


def abort_giveup(dest: str) -> Fields:
    """ipfail: both reach as many ping nodes."""
    return ((f.T, ABORT_GIVEUP), (f.DEST, dest), *_FROM_IPFAIL)


def hbd_ask(dest: str, token: str, skip: int) -> Fields:
    """Asks for the page of decisions before the newest `skip`; hexadecimal."""
    return ((f.T, HBD_ASK), (f.DEST, dest), (TOKEN, token), (SKIP, f"{skip:x}"))


def hbd_tell(dest: str, token: str, now_ms: int, boot: str, page: bytes) -> Fields:
    """A page of decisions, and CLOCK_BOOTTIME of the boot with this id; hexadecimal."""
    return (
        (f.T, HBD_TELL), (f.DEST, dest), (TOKEN, token), (NOW, f"{now_ms:x}"), (BOOT, boot or "-"),
        (PAGE, page),
    )  # fmt: skip


def kind_of(message: Message) -> str:
    """The message's type; empty if it has none."""
    return message.text(f.T) or ""
