"""Who a phone verb is, and which edge it speaks to."""

import argparse
import getpass
import sys

import msgspec

from chordial_node.boundary.events import Address
from chordial_node.cli.asking import statuses
from chordial_node.cli.fleet import Fleet, PeerPlace, write_whole
from chordial_node.cli.options import UsageError, aor_of, host_port
from chordial_node.cli.sip_client import Account, SipError
from chordial_node.config import Transport

DEMO_FILE = "demo-users.json"


class Edge(msgspec.Struct, frozen=True):
    """A peer as a phone sees it."""

    name: str
    address: Address
    place: PeerPlace | None
    """None outside of the local fleet."""


def phone_account(args: argparse.Namespace, user: str = "") -> Account:
    """Return a user's account; its password from `up`, standard input or a prompt."""
    fleet = Fleet.load(args.state) if Fleet.exists(args.state) else None
    domain = fleet.file.domain if fleet else "chordial.test"
    name, _, host = aor_of(user or args.user, domain).removeprefix("sip:").partition("@")
    if args.password_stdin:
        return Account(name, host, sys.stdin.readline().rstrip("\r\n"))
    known = demo_passwords(fleet) if fleet else {}
    if name in known and fleet and host == fleet.file.domain:
        return Account(name, host, known[name])
    if not sys.stdin.isatty():
        raise UsageError(f"the password of {name}@{host} is not known here: use --password-stdin")
    return Account(name, host, getpass.getpass(f"password of {name}@{host}: "))


async def phone_edge(args: argparse.Namespace, domain: str, avoid: str = "") -> Edge:
    """Return the edge that an option names, or the first living peer."""
    if ":" in args.peer:
        address = host_port(args.peer)
        place = None
        if Fleet.exists(args.state):
            fleet = Fleet.load(args.state)
            found = [
                p for p in fleet.file.peers if sip_address(fleet, p, args.transport) == address
            ]
            place = found[0] if found else None
        return Edge(place.name if place else args.peer, address, place)
    fleet = Fleet.load(args.state)
    if args.peer:
        place = fleet.peer(args.peer)
        return Edge(place.name, sip_address(fleet, place, args.transport), place)
    answers = await statuses(fleet)
    for place, answer in zip(fleet.file.peers, answers, strict=True):
        if answer is not None and place.name != avoid:
            return Edge(place.name, sip_address(fleet, place, args.transport), place)
    raise SipError(f"no peer of {domain} answers: start the fleet with `chordial up`")


def sip_address(fleet: Fleet, place: PeerPlace, transport: str) -> Address:
    """Return the address of a peer's listener of a transport."""
    wanted = Transport(transport)
    for listener in fleet.node_config(place).sip.listeners:
        if listener.transport is wanted:
            return listener.advertised.address
    raise SipError(f"{place.name} does not listen on {transport}")


def demo_passwords(fleet: Fleet) -> dict[str, str]:
    """Return the passwords of the demonstration's users, which `up` made."""
    try:
        return msgspec.json.decode((fleet.state / DEMO_FILE).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError):
        return {}


def keep_demo_password(fleet: Fleet, user: str, password: str) -> None:
    """Note the new password of a user of the demonstration, which the next `up` sets again."""
    known = demo_passwords(fleet)
    if user in known:
        write_whole(fleet.state / DEMO_FILE, msgspec.json.encode({**known, user: password}))
