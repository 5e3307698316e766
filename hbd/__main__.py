"""`python -m hbd`: first what cannot wait for the imports of a daemon, then the daemon.

Until it has its handlers, signals wait: a SIGHUP would end us, and systemd takes that for a clean exit.
"""

from __future__ import annotations

import gc
import sys

from hbd import stale


def main() -> int:
    """The exit status."""
    starts = not {"--check", "--version", "--help", "-h"} & set(sys.argv[1:])
    gone: list[str] = []
    gc.disable()
    if starts:
        gone = stale.release_if_overdue(sys.argv[1:])
        import signal

        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGINT, signal.SIGTERM})

    from hbd import daemon

    return daemon.main(sys.argv[1:], gone)


if __name__ == "__main__":
    sys.exit(main())
