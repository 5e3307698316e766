"""hbd itself, whose picture on the bus flickers when it is told to.

For a machine's unit, in place of `python -m hbd`: after SIGRTMIN+1 the daemon publishes 10,000 views more
than its core has made, each as soon as the last was taken up, and ends with the core's. Everything else
about it is as ever: the heartbeats, the bus, the priority.
"""

import asyncio
import logging
import signal
import sys
from dataclasses import replace

from hbd import __main__ as program
from hbd import daemon
from hbd.bus.service import Service
from hbd.core.views import ClusterView

CHANGES = 10_000
log = logging.getLogger("hbd.flicker")


class Flickering(Service):
    """Counts the property Generation up, and sets it back."""

    _real: ClusterView | None = None
    _left = 0

    def publish(self, view: ClusterView) -> None:
        self._real = view
        if not self._left:
            super().publish(view)

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGRTMIN + 1, self._flicker)
        await super().run()

    def _flicker(self) -> None:
        self._left = CHANGES
        self._go_on()

    def _go_on(self) -> None:
        assert self._real is not None
        if not self._published.is_set() or (self._bus is not None and self._bus.is_congested):
            self._left -= 1
            super().publish(replace(self._real, generation=self._real.generation + self._left))
        if self._left:
            asyncio.get_running_loop().call_soon(self._go_on)
        else:
            log.info("flickered %d times: %s", CHANGES, self.statistics())


if __name__ == "__main__":
    vars(daemon)["Service"] = Flickering
    sys.exit(program.main())
