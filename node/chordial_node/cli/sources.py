"""Where the peers are that a verb asks: a local fleet, a cluster, or one address with papers."""

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chordial_node.boundary.events import Address
from chordial_node.cli.asking import Known, LocalPeers, Papers, Peers
from chordial_node.cli.cluster import ClusterPeers
from chordial_node.cli.fleet import Fleet, FleetError
from chordial_node.cli.options import UsageError, host_port

PAPER_FILES = ("ca.pem", "admin.pem", "admin.key")


def add_source_options(verb: argparse.ArgumentParser) -> None:
    """Add the options that say where the peers are; without them it is the local fleet."""
    group = verb.add_argument_group("peers elsewhere")
    group.add_argument("--context", default="", metavar="NAME", help="context of your kubeconfig")
    group.add_argument("-n", "--namespace", default="", metavar="NAME", help="of the overlay")
    group.add_argument(
        "--overlay", default="", metavar="NAME",
        help="overlay in the cluster (default: the only one of the namespace)",
    )  # fmt: skip
    group.add_argument(
        "--identity", type=Path, metavar="DIR",
        help="folder with ca.pem, admin.pem and admin.key, for peers named by --peer HOST:PORT",
    )  # fmt: skip


@asynccontextmanager
async def open_peers(args: argparse.Namespace) -> AsyncIterator[Peers]:
    """Find the peers that the options mean, and close the ways to them at the end."""
    if args.identity is not None:
        yield AddressedPeers(args.identity, args.peer)
    elif args.context or args.namespace or args.overlay or is_plugin():
        async with ClusterPeers(args.context, args.namespace, args.overlay) as peers:
            yield peers
    else:
        yield LocalPeers(Fleet.load(args.state))


def is_plugin() -> bool:
    """Tell whether the command was called as `kubectl chordial`: then a cluster is meant."""
    return Path(sys.argv[0]).name == "kubectl-chordial"


class AddressedPeers:
    """Whoever is at one address, asked with papers from a folder."""

    def __init__(self, folder: Path, target: str) -> None:
        """Take the folder, and HOST:PORT of a peer's gRPC."""
        if not target:
            raise UsageError("--identity needs --peer HOST:PORT: the address of a peer's gRPC")
        self._folder = folder
        self._address = host_port(target)
        self._target = target
        self.domain = ""

    @property
    def where(self) -> str:
        """The address."""
        return f"answers at {self._target}"

    def papers(self) -> Papers:
        """Read the files of the folder."""
        try:
            return Papers(*((self._folder / name).read_bytes() for name in PAPER_FILES))
        except OSError as error:
            raise FleetError(f"{error.filename} cannot be read: {error.strerror}") from error

    def known(self) -> list[Known]:
        """Return the one."""
        return [Known(self._target, None)]

    async def address(self, peer: Known) -> Address:
        """Return its address."""
        assert peer.name == self._target
        return self._address
