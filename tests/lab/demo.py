"""The guide's example, told while it happens: one of the two machines dies, and a client does not care.

Run by ./demo, which has set up what the lab needs. Exit status 0 if everything
happened as it should, 1 with the reason if not, 130 when interrupted. All
times are monotonic microseconds, as everywhere in the lab.
"""

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cluster, rootfs
from tests.lab.cluster import ADDRESS, HARESOURCES, ONE, TWO
from tests.lab.helpers import Helper
from tests.lab.host import LabError, wait_until
from tests.lab.journal import now_us
from tests.lab.lab import CHECKOUT, Lab
from tests.lab.node import Node
from tests.lab.probes import ArpProbe, HttpProbe

KEEPALIVE_S, WARNTIME_S, DEADTIME_S, INITDEAD_S = 0.5, 1.5, 3, 10
HA_CF = f"""\
keepalive {KEEPALIVE_S * 1000:.0f}ms
warntime {WARNTIME_S * 1000:.0f}ms
deadtime {DEADTIME_S}
initdead {INITDEAD_S}
udpport 694
bcast eth1
ucast eth0 192.168.85.1
ucast eth0 192.168.85.2
auto_failback on
node {ONE}
node {TWO}
"""
AUTHKEYS = "auth 1\n1 sha1 a-secret-of-your-own\n"
SMB_COMMAND = f"smbclient -N //{ADDRESS}/test -c ls"
HTTP_COMMAND = f"curl -s http://{ADDRESS}/"
BUSCTL_STANDBY = cluster.STANDBY_CALL.replace(f" {cluster.BUS_NAME}.", f" \\\n      {cluster.BUS_NAME}.")
GROUP_RUNS = "Resource acquisition completed. group"
JOURNAL_LINES = 25


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a time line."""

    at_us: int
    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Takeover:
    """What a power failure cost, in microseconds after the power went."""

    heartbeat: int
    dead: int
    address: int
    answer: int


def main() -> int:
    options = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    layer = _machines()
    heading("the lab")
    with Lab(layers=[layer], force=options.force) as lab:
        try:
            takeover = _story(lab)
        except LabError as error:
            _tell_failure(lab, error)
            return 1
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        if options.keep:
            lab.keep()
        _compare_timings(takeover)
        _show_ways_to_look(lab, kept=options.keep)
    if not options.keep:
        say("", "The machines are gone, and nothing of them is left running here.")
    return 0


def _story(lab: Lab) -> Takeover:
    _set_up(lab)
    _bring_up(lab)
    takeover = _power_failure(lab)
    _failback(lab)
    return takeover


# ---------------------------------------------------------------- the story


def _machines() -> Path:
    """The layer with hbd in it, on the machines' root file system; both made if they are not there."""
    base = rootfs.base(say=say)
    say(f"the machines' root file system: {base}")
    layer = rootfs.hbd_layer(CHECKOUT, rootfs.wheels(CHECKOUT, say=say), [base])
    say(f"hbd of this checkout, installed on it by ./install: {layer.name}")
    return layer


def _set_up(lab: Lab) -> None:
    say(
        "",
        f"  {ONE}  192.168.85.1 on the LAN (eth0)   10.0.0.1 on a private link (eth1)",
        f"  {TWO}  192.168.85.2                     10.0.0.2",
        f"  client    192.168.85.100, knows only the cluster's address {ADDRESS}",
        "",
        "httpd and smb are installed on both, disabled at boot. In /etc/ha.d of both:",
        "",
    )
    quote("ha.cf", HA_CF)
    quote("haresources", HARESOURCES)
    for node in lab.nodes.values():
        node.write("/etc/ha.d/ha.cf", HA_CF)
        node.write("/etc/ha.d/haresources", HARESOURCES)
        node.write("/etc/ha.d/authkeys", AUTHKEYS, mode=0o600)
    began_us = now_us()
    lab.boot()
    say("", f"both machines booted, in {seconds(now_us() - began_us)}")


def _bring_up(lab: Lab) -> None:
    heading("the cluster comes up")
    for node in lab.nodes.values():
        show(node, "hbd --check && echo valid")
    with probing(lab) as (http, _):
        say("", f"{ONE}# systemctl start hbd", f"{TWO}# systemctl start hbd")
        cluster.start(lab)
        started_us = now_us()
        answer = http.wait_for(ONE)
        cluster.settle(lab, owned_by=ONE)
    say("", f"The client has its page {ms(max(answer.ended_us - started_us, 0))} ms after both are active.")
    show(lab[ONE], "hbctl status")
    show(lab[TWO], "hbctl status")
    _show_services(lab, ONE)


def _power_failure(lab: Lab) -> Takeover:
    heading(f"{ONE} loses its power")
    with probing(lab) as (http, arp), ExitStack() as watches:
        with deaf_to_ctrl_c():
            address = watches.enter_context(cluster.watch_address(lab, TWO))
            wire = watches.enter_context(cluster.watch_heartbeats(lab, TWO, of=ONE))
        http.wait_for(ONE)
        wire.wait_for("heartbeat")
        time.sleep(random.uniform(0, KEEPALIVE_S))  # At any moment between two heartbeats.
        killed_us = lab[ONE].power_kill()
        say("", f"{TWO} does not know it yet: it waits for a heartbeat for {DEADTIME_S} s ...")
        dead = lab[TWO].wait_for_journal(f"node {ONE}: is dead", DEADTIME_S + 5, killed_us)
        up = address.wait_for("up", killed_us)
        answer = http.wait_for(TWO, since_us=killed_us)
        whole = lab[TWO].wait_for_journal(GROUP_RUNS, since_us=killed_us)
        share_us = _share_answers(lab, TWO)
        arp.wait_for_rounds_until(answer.ended_us)
        heard_us = max(each.at_us for each in wire.seen("heartbeat") if each.at_us <= killed_us)
        takeover = Takeover(
            killed_us - heard_us, cluster.logged_us(dead) - killed_us,
            up.at_us - killed_us, answer.ended_us - killed_us,
        )  # fmt: skip
        time_line(
            killed_us,
            Moment(heard_us, TWO, f"hears the last heartbeat of {ONE}"),
            Moment(killed_us, ONE, "killed: its power is off"),
            Moment(killed_us + takeover.dead, TWO, f"declared dead: 'node {ONE}: is dead'"),
            Moment(up.at_us, TWO, f"address up: {ADDRESS} is on its eth0"),
            Moment(answer.ended_us, "client", f"first answer from {TWO} (http)"),
            Moment(cluster.logged_us(whole), TWO, "httpd and smb run"),
            Moment(share_us, "client", f"smbclient gets the share from {TWO}"),
        )
        _require_single_holder(arp)
        say(f"The client was without answers for {http.longest_outage_ms():.0f} ms.")
    cluster.settle(lab, TWO, owned_by=TWO)
    show(lab[TWO], "hbctl status", exit_status=1)
    _show_services(lab, TWO)
    return takeover


def _failback(lab: Lab) -> None:
    heading(f"{ONE} comes back")
    say("", "auto_failback is on: the group goes home as soon as its home is there.")
    on_us = now_us()
    lab.boot(ONE)
    booted_us = now_us()
    with probing(lab) as (http, arp), ExitStack() as watches:
        with deaf_to_ctrl_c():
            first = watches.enter_context(cluster.watch_address(lab, ONE))
            second = watches.enter_context(cluster.watch_address(lab, TWO))
        http.wait_for(TWO)
        start_us = now_us()
        lab[ONE].run("systemctl start hbd", timeout=60)
        active_us = now_us()
        gone = second.wait_for("gone", start_us)
        up = first.wait_for("up", start_us)
        answer = http.wait_for(ONE, since_us=gone.at_us)
        whole = lab[ONE].wait_for_journal(GROUP_RUNS, since_us=start_us)
        share_us = _share_answers(lab, ONE)
        cluster.settle(lab, owned_by=ONE)
        arp.wait_for_rounds_until(now_us())
        time_line(
            start_us,
            Moment(start_us - (booted_us - on_us), ONE, "power on again"),
            Moment(start_us, ONE, "booted; systemctl start hbd"),
            Moment(active_us, ONE, "hbd is active"),
            Moment(gone.at_us, TWO, f"has stopped httpd and smb, and taken {ADDRESS} off"),
            Moment(up.at_us, ONE, f"address up: {ADDRESS} is on its eth0"),
            Moment(answer.ended_us, "client", f"first answer from {ONE} (http)"),
            Moment(cluster.logged_us(whole), ONE, "httpd and smb run"),
            Moment(share_us, "client", f"smbclient gets the share from {ONE}"),
        )
        if up.at_us < gone.at_us:
            raise LabError(f"{ONE} had the address before {TWO} had given it up")
        _require_single_holder(arp)
        say(f"The client was without answers for {http.longest_outage_ms():.0f} ms.")
    show(lab[ONE], "hbctl status")


def _require_single_holder(arp: ArpProbe) -> None:
    twice = arp.dual_held()
    if twice:
        raise LabError(f"the address was on both machines at once: {twice}")
    say("", f"At no moment did both machines answer for {ADDRESS}.")


def _show_services(lab: Lab, owner: str) -> None:
    page = show(lab.client, HTTP_COMMAND).strip()
    show(lab.client, SMB_COMMAND)
    share = cluster.share_answers(lab)
    say("", f"The page comes from {page}, the share from {share}.")
    if (page, share) != (owner, owner):
        raise LabError(f"both were to come from {owner}")


def _share_answers(lab: Lab, owner: str) -> int:
    """When the client first got the share from `owner`, asking over and over."""

    def answers() -> bool:
        try:
            return cluster.share_answers(lab) == owner
        except LabError:
            return False  # Nobody serves it yet.

    wait_until(answers, 10, f"the share from {owner}", 0.01)
    return now_us()


# ---------------------------------------------------------------- what to make of it


def _compare_timings(seen: Takeover) -> None:
    heading("these timings, and the guide's")
    say(
        "",
        f"                {'here':>8} {'guide':>8}",
        f"  keepalive     {KEEPALIVE_S:6g} s {2:6} s   between two heartbeats",
        f"  warntime      {WARNTIME_S:6g} s {10:6} s   'Late heartbeat' in the journal",
        f"  deadtime      {DEADTIME_S:6g} s {30:6} s   of silence, and a machine counts as dead",
        f"  initdead      {INITDEAD_S:6g} s {120:6} s   instead of deadtime while hbd starts",
        "",
        f"{ONE} was declared dead {ms(seen.dead)} ms after its power went: its last heartbeat",
        f"was {ms(seen.heartbeat)} ms old by then. With the guide's timings that takes 28 to 30 s, and",
        "a machine that starts alone waits 120 s before it serves.",
        "",
        "Everything else takes the same time with any timings:",
        f"  {ms(seen.address - seen.dead):>4} ms  from there until the address was up on {TWO}",
        f"  {ms(seen.answer - seen.address):>4} ms  more until the client's first answer",
        "Nor is there anything to wait for at a standby, at systemctl stop hbd, at a",
        "reboot, or when both machines start together.",
    )


def _show_ways_to_look(lab: Lab, *, kept: bool) -> None:
    name = f"HBD_LAB_NAME={lab.name} " if "HBD_LAB_NAME" in os.environ else ""
    command = f"sudo {name}python3 -m tests.lab"
    heading("look for yourself")
    if kept:
        say("", f"The machines are still running. In {os.getcwd()}:")
    else:
        say("", "With sudo ./demo --keep the machines stay, and then, in this directory:")
    say(
        "",
        f"  {command} enter {ONE}",
        f"  {command} enter client",
        f"  {command} kill {ONE}        takes its power",
        f"  {command} boot {ONE}        then there: systemctl start hbd",
        f"  {command} cut {ONE} eth1    a cable out",
        f"  {command} restore {ONE}     and in again",
        f"  {command} down                 ends all of it",
        "",
        "On a machine:",
        "",
        "  hbctl status --watch                      hbctl standby --wait",
        "  hbctl events                              hbctl takeover --wait",
        f"  hbctl why {ADDRESS}                    systemctl status hbd httpd smb",
        "  journalctl -u hbd                         what happened, in heartbeat's words",
        "  journalctl -x -u hbd                      and what it means",
        "  ip addr show eth0",
        "  busctl tree org.linux_ha.Heartbeat1",
        "  busctl introspect org.linux_ha.Heartbeat1 /org/linux_ha/Heartbeat1",
        "  busctl monitor org.linux_ha.Heartbeat1",
        f"  {BUSCTL_STANDBY}",
        "",
        "On the client:",
        "",
        f"  {HTTP_COMMAND}",
        f"  {SMB_COMMAND}",
    )
    if kept:
        say("", "./test and ./demo refuse while they run; with --force they end them.")


def _tell_failure(lab: Lab, error: Exception) -> None:
    say("", f"NOT AS IT SHOULD BE: {error}")
    for node in lab.nodes.values():
        say("", f"The end of hbd's journal on {node.name}:")
        for entry in cluster.log(node)[-JOURNAL_LINES:]:
            say(f"  {entry.monotonic_us / 1e6:.3f} {entry.message}")


# ---------------------------------------------------------------- showing


def say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)


def heading(text: str) -> None:
    say("", f"=== {text} ===")


def quote(name: str, text: str) -> None:
    """A file's content, its name in front of the first line."""
    for number, line in enumerate(text.splitlines()):
        say(f"  {name if number == 0 else '':12} {line}")


def show(host: Node | Helper, command: str, exit_status: int = 0) -> str:
    """Run a command there and show it with its output; raises LabError if it ends otherwise."""
    done = host.run(command, check=False)
    say("", f"{host.name}# {command}")
    for line in (done.stdout + done.stderr).strip("\n").splitlines():
        say(f"    {line.expandtabs(4)}".rstrip())
    if done.returncode != exit_status:
        raise LabError(f"{command} on {host.name} ended with status {done.returncode}")
    return done.stdout


def time_line(zero_us: int, *moments: Moment) -> None:
    say("")
    for moment in sorted(moments, key=lambda moment: moment.at_us):
        say(f"  {ms(moment.at_us - zero_us):>7} ms  {moment.where:9} {moment.what}")


def ms(microseconds: float) -> str:
    return f"{microseconds / 1000:.0f}"


def seconds(microseconds: int) -> str:
    return f"{microseconds / 1e6:.1f} s"


# ---------------------------------------------------------------- around it


@contextmanager
def probing(lab: Lab) -> Iterator[tuple[HttpProbe, ArpProbe]]:
    """The client asks for the page, the observer who has the address, as long as the block lasts."""
    with ExitStack() as probes:
        with deaf_to_ctrl_c():
            http = probes.enter_context(lab.client.http_probe())
            arp = probes.enter_context(lab.observer.arp_probe())
        yield http, arp


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """What is started in the block ignores Ctrl-C, which a terminal sends to all; we end it ourselves."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupted(_number: int, _frame: object) -> None:
    # A second Ctrl-C must not interrupt the clearing away.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./demo")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--force", action="store_true")
    return parser.parse_args()


def run(tell: Callable[[], int]) -> int:
    try:
        return tell()
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("", "interrupted; nothing is left running")
        return 130


if __name__ == "__main__":
    sys.exit(run(main))
