"""Sends the datagrams it reads, as lines of base64, from wherever it is started.

    sender.py PER_SECOND TIMES ADDRESS...

Each datagram goes to UDP port 694 of every address, `TIMES` times over. One line of JSON says how many
were sent, and when (monotonic microseconds). The standard library only, as in `prober.py`.
"""

import base64
import json
import socket
import sys
import time

PORT = 694


def main() -> None:
    per_second, times, addresses = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    datagrams = [base64.b64decode(line) for line in sys.stdin]
    sent = 0
    began = due = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for datagram in datagrams * times:
            for address in addresses:
                out.sendto(datagram, (address, PORT))
                sent += 1
                due += 1 / per_second
                time.sleep(max(0.0, due - time.monotonic()))
    print(json.dumps({"sent": sent, "began_us": int(began * 1e6), "ended_us": time.monotonic_ns() // 1000}))


if __name__ == "__main__":
    main()
