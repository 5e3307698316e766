"""One medium per link: bytes out, DatagramReceived in."""
