"""A pair that was to be fenced and is not; and one with more to say than is sent in plain."""

from __future__ import annotations

from dataclasses import replace

from hbd.config.model import AddressResource, Compression, Place, Stonith
from hbd.core.events import Stop
from tests.scenarios.pair import Pair, all_on, group

DEVICE = Stonith("ssh", "linuxha2", Place("ha.cf", 4, 14))


def test_who_takes_over_from_a_dead_node_says_that_nothing_is_fenced() -> None:
    pair = Pair().started()
    pair.beta.power_off()
    pair.until(lambda: pair.owners() == all_on("alpha"), 4000)
    dead_ms = pair.logged(pair.alpha, "node beta: is dead")
    told = [
        pair.logged(pair.alpha, text)
        for text in ("No STONITH device configured.", "Shared disks are not protected.")
    ]
    assert told == [dead_ms, dead_ms]


def test_with_fencing_none_each_takeover_names_the_device_that_is_not_used() -> None:
    pair = Pair()
    for machine in (pair.alpha, pair.beta):
        machine.config = replace(machine.config, stonith=DEVICE)
    pair.started()
    pair.beta.power_off()
    pair.until(lambda: pair.owners() == all_on("alpha"), 4000)
    told_ms = pair.logged(
        pair.alpha,
        "node beta is not fenced: hbd.cf says fencing none, "
        "and the STONITH device of ha.cf (ssh) is not used",
    )
    assert told_ms == pair.logged(pair.alpha, "node beta: is dead")
    assert pair.logged(pair.alpha, "Shared disks are not protected.")
    assert pair.never_logged(pair.alpha, "No STONITH device configured.")


def test_a_node_that_left_in_order_needs_no_fencing() -> None:
    pair = Pair().started()
    pair.ask(pair.beta, Stop())
    pair.until(lambda: pair.owners() == all_on("alpha"), 4000)
    pair.run(4000)
    assert pair.never_logged(pair.alpha, "No STONITH device configured.")


def test_two_nodes_with_much_to_say_compress_it_and_live_as_ever() -> None:
    groups = tuple(
        group(("alpha", "beta")[n % 2], AddressResource(f"10.0.{n}.1", f"10.0.{n}.1")) for n in range(80)
    )
    pair = Pair(groups=groups)
    for machine, algorithm in ((pair.alpha, "zlib"), (pair.beta, "bz2")):
        machine.config = replace(machine.config, compression=Compression(algorithm, 1024))
    sizes: dict[bool, list[int]] = {True: [], False: []}
    carry = pair.carry

    def weigh(sender: str, payload: bytes) -> None:
        sizes[b"_compressed_payload=" in payload].append(len(payload))
        carry(sender, payload)

    pair.carry = weigh  # type: ignore[method-assign]
    pair.started()
    assert max(sizes[False]) < 1024 + 100
    assert len(sizes[True]) > 10
    assert max(sizes[True]) < 1024
    pair.beta.power_off()
    pair.until(lambda: pair.owners() == all_on("alpha", groups), 4000)
