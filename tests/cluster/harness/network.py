"""One machine as a network: a namespace for each node and phone, all on one bridge.

192.168.77.0/24 is the bridge: .254 this machine, .10 the control plane, .11 and on the nodes,
.101 and on the phones. Pods are 10.244.N.0/24, N the node. All packet filtering rules live inside
the namespaces, so that removing a namespace removes its rules. What runs in a namespace must never
be put here.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.harness.parts import installed
from tests.cluster.harness.processes import netns

BRIDGE = "chdbr"
PREFIX = "chd"
MACHINE = "192.168.77.254"
CONTROL_PLANE = "192.168.77.10"
SERVICES = "10.96.0.0/16"
PODS = "10.244.0.0/16"
BALANCERS = "192.168.78.0/24"
"""Where tests take LoadBalancer addresses from; routed like the Services."""


class NetworkError(Exception):
    """A step of the network failed; the message is the command and its complaint."""


def node_namespace(number: int) -> str:
    """The namespace of a node; number 0 is the control plane."""
    return f"{PREFIX}-{number}"


def node_address(number: int) -> str:
    """The address of a node on the bridge."""
    return f"192.168.77.{10 + number}"


def pods_of(number: int) -> str:
    """The network of the pods on one node."""
    return f"10.244.{number}.0/24"


def create(nodes: int) -> None:
    """Make the bridge, the control plane's namespace and one for each node, with their routes."""
    ip("link", "add", BRIDGE, "type", "bridge")
    ip("addr", "add", f"{MACHINE}/24", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")
    for number in range(nodes + 1):
        _plug_in(node_namespace(number), f"{PREFIX}v{number}", node_address(number))
        write_setting(node_namespace(number), "net/ipv4/ip_forward", "1")
        if number:
            write_setting(node_namespace(number), "net/bridge/bridge-nf-call-iptables", "1")
    for number in range(nodes + 1):
        _route_to_pods(nodes, node_namespace(number), except_for=number)
    _route_to_pods(nodes, None)
    route(None, SERVICES, node_address(1))
    route(node_namespace(0), SERVICES, node_address(1))


def remove() -> None:
    """Remove every namespace, veth end and bridge of ours, whoever left them."""
    for namespace in namespaces():
        ip("netns", "del", namespace, check=False)
    for link in links():
        ip("link", "del", link, check=False)


def namespaces() -> list[str]:
    """Our network namespaces that are there."""
    folder = Path(netns(""))
    return sorted(p.name for p in folder.glob(f"{PREFIX}-*")) if folder.exists() else []


def links() -> list[str]:
    """Our links in this machine's own namespace, the bridge last."""
    found = [path.name for path in Path("/sys/class/net").glob(f"{PREFIX}*")]
    return sorted(found, key=lambda name: (name == BRIDGE, name))


def pull_cable(number: int) -> None:
    """Cut a node off from everything."""
    ip("link", "set", f"{PREFIX}v{number}", "down")


def plug_cable(number: int) -> None:
    """Put a node's cable back in."""
    ip("link", "set", f"{PREFIX}v{number}", "up")


def add_phone(number: int, nodes: int, gateway: int = 1) -> str:
    """Make a namespace for phones on the bridge; Services are reached through one node."""
    namespace = f"{PREFIX}-p{number}"
    _plug_in(namespace, f"{PREFIX}p{number}", phone_address(number))
    _route_outward(namespace, nodes, gateway)
    return namespace


def phone_address(number: int) -> str:
    """The address of a phones' namespace, or of the NAT that it is behind."""
    return f"192.168.77.{100 + number}"


def add_phone_behind_nat(
    number: int, nodes: int, gateway: int = 1, *, symmetric: bool = True
) -> str:
    """Make a namespace for phones behind a NAT of their own, which has the phone's address."""
    router, namespace = f"{PREFIX}-r{number}", f"{PREFIX}-p{number}"
    _plug_in(router, f"{PREFIX}p{number}", phone_address(number))
    write_setting(router, "net/ipv4/ip_forward", "1")
    _route_outward(router, nodes, gateway)
    ip("netns", "add", namespace)
    ip("link", "add", "inside", "netns", router, "type", "veth",
       "peer", "name", "eth0", "netns", namespace)  # fmt: skip
    ip("addr", "add", "10.77.0.1/24", "dev", "inside", namespace=router)
    ip("link", "set", "inside", "up", namespace=router)
    ip("addr", "add", "10.77.0.2/24", "dev", "eth0", namespace=namespace)
    ip("link", "set", "lo", "up", namespace=namespace)
    ip("link", "set", "eth0", "up", namespace=namespace)
    ip("route", "add", "default", "via", "10.77.0.1", namespace=namespace)
    ports = ["--random-fully"] if symmetric else []
    run_in(
        router, installed("iptables"), "-t", "nat", "-A", "POSTROUTING", "-o", "eth0",
        "-j", "MASQUERADE", *ports,
    )  # fmt: skip
    return namespace


def remove_phone(number: int) -> None:
    """Remove a phones' namespace and its NAT."""
    for namespace in (f"{PREFIX}-p{number}", f"{PREFIX}-r{number}"):
        if namespace in namespaces():
            ip("netns", "del", namespace)
    ip("link", "del", f"{PREFIX}p{number}", check=False)


def route(namespace: str | None, network: str, via: str) -> None:
    """Route a network through an address, replacing how it was routed."""
    ip("route", "replace", network, "via", via, namespace=namespace)


def write_setting(namespace: str, name: str, value: str) -> None:
    """Write a kernel setting of a namespace's network."""
    run_in(namespace, "/bin/sh", "-c", f"echo {value} > /proc/sys/{name}")


def ip(*arguments: str, namespace: str | None = None, check: bool = True) -> str:
    """Run `ip`, in a namespace if one is named."""
    inside = [] if namespace is None else ["-n", namespace]
    return _run([installed("ip"), *inside, *arguments], check=check)


def run_in(namespace: str, *command: str, check: bool = True) -> str:
    """Run a short command in a namespace's network and return what it wrote."""
    return _run([*inside_of(namespace), *command], check=check)


def inside_of(namespace: str) -> list[str]:
    """What is put before a command so that it runs in a namespace's network."""
    return [installed("nsenter"), f"--net={netns(namespace)}"]


def _run(command: Sequence[str], *, check: bool) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if check and done.returncode:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _plug_in(namespace: str, cable: str, address: str) -> None:
    """Make a namespace with one cable to the bridge; its far end is `eth0` inside."""
    ip("netns", "add", namespace)
    ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    ip("link", "set", cable, "master", BRIDGE, "up")
    ip("addr", "add", f"{address}/24", "dev", "eth0", namespace=namespace)
    ip("link", "set", "lo", "up", namespace=namespace)
    ip("link", "set", "eth0", "up", namespace=namespace)
    ip("route", "add", "default", "via", MACHINE, namespace=namespace)


def _route_to_pods(nodes: int, namespace: str | None, except_for: int = 0) -> None:
    for number in range(1, nodes + 1):
        if number != except_for:
            route(namespace, pods_of(number), node_address(number))


def _route_outward(namespace: str, nodes: int, gateway: int) -> None:
    _route_to_pods(nodes, namespace)
    route(namespace, SERVICES, node_address(gateway))
    route(namespace, BALANCERS, node_address(gateway))
