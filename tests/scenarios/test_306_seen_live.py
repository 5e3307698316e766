"""What a live heartbeat 3.0.6 beside our node has shown, and a recording could not."""

from __future__ import annotations

import pytest

from hbd.config.model import AutoFailback
from hbd.core import message as f
from hbd.core import protocol
from tests.scenarios.beside_306 import alone_with_all
from tests.scenarios.puppet import Puppet


@pytest.mark.parametrize("failback", AutoFailback)
def test_a_node_that_starts_hears_a_heartbeat_of_ours_before_an_ack(failback: AutoFailback) -> None:
    # 3.0.6 is up as soon as it heard anything of everybody. If that was no status, it does not know us as
    # active, and in legacy takes its groups without asking us.
    pair = alone_with_all(failback)
    began_ms = pair.now_ms
    beta = Puppet(pair, "beta")
    beta.st = "up"
    for _ in range(10):  # One number in ten is acknowledged.
        beta.say_status()
    beta.lives()
    pair.run(2500)
    heard = [message.text(f.T) for heard_ms, message in beta.heard if heard_ms >= began_ms]
    assert heard[0] == protocol.STATUS
    assert protocol.ACK in heard
