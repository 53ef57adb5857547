"""Two baresips register at two peers, one calls, each must hear the other's tone."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.rig import DOMAIN, LocalFleet, end, free_port, wait_for
from tests.integration.tone import loudest_frequency
from tests.programs import ProgramFinder

pytestmark = [pytest.mark.foreign, pytest.mark.slow, pytest.mark.timeout(180)]

CONFIG = """\
poll_method epoll
sip_listen 127.0.0.1:{sip}
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
net_interface 127.0.0.1
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


class Baresip:
    """One headless phone, driven over its control socket."""

    def __init__(self, folder: Path, control: int, process: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self._control = control
        self.process = process

    def ask(self, command: str, params: str = "") -> str:
        """Send a command and return its answer's text."""
        question = json.dumps({"command": command, "params": params, "token": "t"}).encode()
        with socket.create_connection(("127.0.0.1", self._control), 5) as connection:
            connection.sendall(b"%d:%s," % (len(question), question))
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

    def tells(self, command: str, wanted: str) -> bool:
        """Tell whether the answer to a command has something in it; a busy phone answers later."""
        try:
            return wanted in self.ask(command)
        except OSError:
            return False

    def is_registered(self) -> bool:
        """Tell whether the registrar took it."""
        return self.tells("reginfo", "OK")


@contextmanager
def phone(
    program: Path, folder: Path, user: str, ports: tuple[int, int, int], tone: int,
    edge: tuple[str, int], transport: str, answer: str,
) -> Iterator[Baresip]:  # fmt: skip
    """Run a baresip with one account."""
    sip, control, rtp = ports
    home = folder / user
    home.mkdir()
    config = CONFIG.format(
        sip=sip, tone=tone, user=user, rtp=rtp, rtp_end=rtp + 40, folder=home, control=control
    )
    (home / "config").write_text(config)
    account = (
        f"<sip:{user}@{DOMAIN};transport={transport}>;auth_user={user};auth_pass={user}pw;"
        f'outbound="sip:{edge[0]}:{edge[1]};transport={transport}";regint=60;pubint=0;'
        f"audio_codecs=PCMU/8000/1;answermode={answer}\n"
    )
    (home / "accounts").write_text(account)
    (home / "contacts").write_text("")
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), "-f", str(home)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield Baresip(home, control, process)
    finally:
        end(process)


def free_ports() -> tuple[int, int, int]:
    """Return ports for SIP, control and RTP that nobody uses at present."""
    return free_port(), free_port(), free_port() & ~1


def heard(home: Path) -> int:
    """Return the strongest frequency that a phone recorded, 0 when it is silent yet."""
    recordings = sorted(home.glob("*-dec.wav"))
    return loudest_frequency(recordings[0]) if recordings else 0


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_two_baresips_at_two_peers_hear_each_other(
    shared_fleet: LocalFleet, require_program: ProgramFinder, tmp_path: Path, transport: str
) -> None:
    assert sys.platform == "linux"
    program = require_program("baresip", "baresip-core")
    caller, callee = f"anna{transport}", f"ben{transport}"
    shared_fleet.add_users([caller, callee], tmp_path)
    with (
        phone(program, tmp_path, callee, free_ports(), 1000, shared_fleet.sip(4, transport),
              transport, "auto") as ben,
        phone(program, tmp_path, caller, free_ports(), 440, shared_fleet.sip(2, transport),
              transport, "manual") as anna,
    ):  # fmt: skip
        wait_for(lambda: anna.is_registered() and ben.is_registered(), 20.0)
        anna.ask("dial", f"sip:{callee}@{DOMAIN}")
        wait_for(lambda: abs(heard(ben.folder) - 440) <= 20, 30.0, pause=0.5)
        wait_for(lambda: abs(heard(anna.folder) - 1000) <= 30, 30.0, pause=0.5)
        wait_for(lambda: anna.tells("hangup", ""))
        wait_for(lambda: ben.tells("listcalls", "Active calls (0)"), 10.0)
