"""A phone behind a symmetric NAT that registers once, and what shows that it then says nothing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.fleet import DOMAIN, MAX_EXPIRES, UDP, Fleet
from tests.cluster.harness import network
from tests.cluster.harness.cluster import NODES
from tests.cluster.phones.capture import Capture, capturing
from tests.cluster.phones.foreign import BEHIND_NAT
from tests.cluster.phones.swarms import Swarm, swarm

NUMBER = 72
GATEWAY = 3
QUIET_USER = "quiet0"


class QuietPhone:
    """One phone of a swarm of one."""

    def __init__(self, phone: Swarm, capture: Capture) -> None:
        self.swarm = phone
        self.since = time.monotonic()
        self._capture = capture

    def said_unasked(self) -> list[bytes]:
        """What the phone has sent since it registered that answers nothing."""
        sent = [each.payload for each in self._capture.segments() if each.source[0] == BEHIND_NAT]
        return [text for text in sent if not text.startswith(b"SIP/2.0 ")]


@contextmanager
def quiet(fleet: Fleet, folder: Path) -> Iterator[QuietPhone]:
    """Run the phone, registered for so long that it need not refresh within three minutes."""
    fleet.add_users(QUIET_USER)
    network.remove_phone(NUMBER)
    namespace = network.add_phone_behind_nat(NUMBER, NODES, gateway=GATEWAY)
    options = (
        "--count", "1", "--user", "quiet{number}", "--domain", DOMAIN,
        "--expires", str(MAX_EXPIRES), "--hold", "30",
    )  # fmt: skip
    where = [(fleet.address, UDP)]
    try:
        with swarm(where, folder, *options, namespace=namespace, name="quiet") as phone:
            started = phone.ask("start")
            assert started["registered"] == 1, started
            with capturing(folder / "quiet.pcap", "udp", namespace=namespace) as capture:
                yield QuietPhone(phone, capture)
    finally:
        network.remove_phone(NUMBER)
