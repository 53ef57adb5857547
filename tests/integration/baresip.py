"""baresip as the tests use it: a headless phone with one account, driven over its control socket.

It may run in a network namespace: its control socket is then reached by a socket made there. What
two of them are to do, and what they must hear, stands in the tests.
"""

import ctypes
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.integration.rig import DOMAIN, end
from tests.integration.tone import loudest_frequency

CLONE_NEWNET = 0x40000000
LOOPBACK = "127.0.0.1"
CONFIG = """\
poll_method epoll
sip_listen {address}:{sip}
{authority}
call_local_timeout 60
call_max_calls 4
audio_path /usr/share/baresip
audio_source ausine,{tone}
audio_player aubridge,spk_{user}
audio_alert aubridge,alert_{user}
auplay_srate 8000
ausrc_srate 48000
ausrc_channels 2
rtp_ports {rtp}-{rtp_end}
net_interface {address}
snd_path {folder}
ctrl_tcp_listen 127.0.0.1:{control}
module_path /usr/lib/baresip/modules
module g711.so
module ausine.so
module aubridge.so
module sndfile.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
"""


class Place(msgspec.Struct, frozen=True):
    """Where a phone runs."""

    address: str = LOOPBACK
    namespace: str = ""
    """The file of a network namespace; empty: this machine's own."""

    @property
    def inside(self) -> list[str]:
        """What is put before a command so that it runs there."""
        return ["nsenter", f"--net={self.namespace}"] if self.namespace else []

    def connect(self, port: int) -> socket.socket:
        """Connect to a port of the loopback there."""
        if not self.namespace:
            return socket.create_connection((LOOPBACK, port), 5)
        made: list[socket.socket] = []
        failed: list[OSError] = []

        def make() -> None:
            try:
                _enter(self.namespace)
                made.append(socket.create_connection((LOOPBACK, port), 5))
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=make)  # a thread's namespace ends with it
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return made[0]


HERE = Place()


class Ports(msgspec.Struct, frozen=True):
    """Ports that nobody uses where a phone runs."""

    sip: int
    control: int
    rtp: int


class Baresip:
    """One headless phone."""

    def __init__(
        self, folder: Path, place: Place, control: int, process: "subprocess.Popen[bytes]"
    ) -> None:
        self.folder = folder
        self._place = place
        self._control = control
        self.process = process

    def ask(self, command: str, params: str = "") -> str:
        """Send a command and return its answer's text."""
        with self._place.connect(self._control) as connection:
            connection.sendall(_question(command, params))
            data = b""
            while True:
                data += connection.recv(65536)
                length, colon, rest = data.partition(b":")
                if not colon or len(rest) < int(length) + 1:
                    continue
                answer = json.loads(rest[: int(length)])
                data = rest[int(length) + 1 :]
                if answer.get("response"):
                    return str(answer.get("data", ""))

    def order(self, command: str) -> None:
        """Send a command whose answer nobody needs: to `hangup` it comes seconds late."""
        with self._place.connect(self._control) as connection:
            connection.sendall(_question(command, ""))

    def tells(self, command: str, wanted: str) -> bool:
        """Tell whether the answer to a command has something in it; a busy phone answers later."""
        try:
            return wanted in self.ask(command)
        except OSError:
            return False

    def is_registered(self) -> bool:
        """Tell whether the registrar took it."""
        return self.tells("reginfo", "OK")

    def is_idle(self) -> bool:
        """Tell whether no call is left."""
        return self.tells("listcalls", "Active calls (0)")

    def heard(self) -> int:
        """Return the strongest frequency of its last recording, 0 when it is silent yet."""
        recordings = sorted(self.folder.glob("*-dec.wav"))
        return loudest_frequency(recordings[-1]) if recordings else 0

    def log(self) -> str:
        """Return what it wrote."""
        return (self.folder / "log").read_text(errors="replace")


@contextmanager
def baresip(
    program: Path, folder: Path, user: str, ports: Ports, tone: int, edge: tuple[str, int],
    transport: str, answer: str, *, place: Place = HERE, domain: str = DOMAIN,
    password: str = "", authority: Path | None = None,
) -> Iterator[Baresip]:  # fmt: skip
    """Run a baresip with one account; `authority` is who may sign the edge's certificate."""
    home = folder / user
    home.mkdir()
    config = CONFIG.format(
        address=place.address, sip=ports.sip, tone=tone, user=user, rtp=ports.rtp,
        rtp_end=ports.rtp + 40, folder=home, control=ports.control,
        authority=f"sip_cafile {authority}" if authority else "",
    )  # fmt: skip
    (home / "config").write_text(config)
    account = (
        f"<sip:{user}@{domain};transport={transport}>;auth_user={user};"
        f"auth_pass={password or user + 'pw'};"
        f'outbound="sip:{edge[0]}:{edge[1]};transport={transport}";regint=60;pubint=0;'
        f"audio_codecs=PCMU/8000/1;answermode={answer}\n"
    )
    (home / "accounts").write_text(account)
    (home / "contacts").write_text("")
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [*place.inside, str(program), "-f", str(home)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield Baresip(home, place, ports.control, process)
    finally:
        end(process)


def _question(command: str, params: str) -> bytes:
    text = json.dumps({"command": command, "params": params, "token": "t"}).encode()
    return b"%d:%s," % (len(text), text)


def _enter(namespace: str) -> None:
    """Move this thread into a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    place = os.open(namespace, os.O_RDONLY)
    try:
        if libc.setns(place, CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"{namespace}: {os.strerror(number)}")
    finally:
        os.close(place)
