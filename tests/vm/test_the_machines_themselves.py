"""The virtual machines do what the other tests rely on: wires, line speed, clocks."""

import time

from tests.lab.cluster import ONE, TWO
from tests.lab.host import wait_until
from tests.lab.journal import now_us
from tests.lab.network import LAN, PRIVATE_LINK
from tests.vm.pair import LINE, Pair

DRIVERS = {ONE: ("softdog", "Software Watchdog"), TWO: ("i6300esb", "i6300ESB timer")}


def test_both_are_up_with_a_watchdog_each_and_reach_each_other(pair: Pair) -> None:
    for name, (_, identity) in DRIVERS.items():
        machine = pair[name]
        assert machine.run("uname -n").stdout == f"{name}\n"
        assert machine.run("systemctl --failed --quiet").stdout == ""
        assert machine.run("cat /sys/class/watchdog/watchdog0/identity").stdout == f"{identity}\n"
        for address in ("192.168.85.1", "192.168.85.2", "10.0.0.1", "10.0.0.2"):
            machine.run(["ping", "-c", "1", "-w", "20", address])


def test_a_stranger_on_the_lan_hears_who_has_an_address(pair: Pair) -> None:
    assert pair.hub.who_has("192.168.85.2", timeout_s=10) == {pair[TWO].seat.mac(LAN)}
    assert pair.hub.who_has("192.168.85.77") == set()
    began_us = now_us()
    pair[ONE].run("ip addr add 192.168.85.77/24 dev eth0; arping -c 1 -A -I eth0 192.168.85.77", check=False)
    claim = pair.hub.wait_for_claim("192.168.85.77", pair[ONE].seat.mac(LAN), began_us, 10)
    assert not claim.is_answer
    pair[ONE].run("ip addr del 192.168.85.77/24 dev eth0")


def test_a_card_loses_its_carrier_at_its_own_end_only(pair: Pair) -> None:
    def carrier(name: str) -> str:
        return pair[name].read(f"/sys/class/net/{PRIVATE_LINK}/carrier").strip()

    pair[ONE].set_link(PRIVATE_LINK, up=False)
    wait_until(lambda: carrier(ONE) == "0", 10, "no carrier", 0.2)
    assert carrier(TWO) == "1"
    assert pair[TWO].run("ping -c 1 -w 2 10.0.0.1", check=False).returncode != 0
    pair[ONE].set_link(PRIVATE_LINK, up=True)
    wait_until(lambda: carrier(ONE) == "1", 10, "the carrier again", 0.2)
    pair[TWO].run("ping -c 1 -w 20 10.0.0.1")


def test_the_line_takes_its_time_and_carries_everything(pair: Pair) -> None:
    size = 1920
    raw = f"stty -F {LINE} 19200 raw -echo -crtscts"
    pair[TWO].run(raw)
    pair[TWO].begin(f"timeout 60 head -c {size} <{LINE} >/run/received; touch /run/done")
    began_s = time.monotonic()
    pair[ONE].run(f"{raw}; head -c {size} /dev/urandom >/run/sent; cat /run/sent >{LINE}")
    wait_until(lambda: pair[TWO].run("test -e /run/done", check=False).returncode == 0, 60, "all of it", 0.1)
    assert time.monotonic() - began_s > size * 10 / 19200 * 0.9
    sums = [pair[name].run(f"sha256sum <{path}").stdout for name, path in SIDES]
    assert sums[0] == sums[1]


SIDES = ((ONE, "/run/sent"), (TWO, "/run/received"))


def test_a_machines_time_goes_as_fast_as_the_hosts(pair: Pair) -> None:
    for machine in pair.machines.values():
        assert machine.read("/sys/devices/system/clocksource/clocksource0/current_clocksource") == "acpi_pm\n"
        before, began_us = machine.clock(), now_us()
        time.sleep(3)
        after, ended_us = machine.clock(), now_us()
        unsure_us = before.within_us + after.within_us
        assert abs(after.ahead_us - before.ahead_us) < 0.01 * (ended_us - began_us) + unsure_us


def test_a_journal_entry_is_placed_in_the_hosts_time(pair: Pair) -> None:
    before_us = now_us()
    pair[ONE].run("logger -t placed here; journalctl --sync")
    after_us = now_us()
    (logged,) = [each for each in pair[ONE].journal(since_us=before_us - 500_000) if each.message == "here"]
    assert logged.within_us < 1_000_000
    assert before_us - logged.within_us - 100_000 < logged.at_us < after_us + logged.within_us + 100_000
