"""`chordial report`: a bundle for support, without anything that is nobody's business.

What peers, custom resources and pods tell, in one archive. No Secret is ever read into it; names of
SIP users and addresses of phones are replaced by marks, the same one for the same name in one
report, so that a way can be followed and nobody is named.
"""

import argparse
import hashlib
import io
import re
import secrets
import tarfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from chordial_node import __version__
from chordial_node.cli.asking import LocalPeers, Peers, statuses_of
from chordial_node.cli.cluster import ClusterPeers
from chordial_node.cli.fleet import FleetError
from chordial_node.cli.options import add_verb
from chordial_node.cli.output import Output
from chordial_node.cli.sources import add_source_options, open_peers
from chordial_node.cli.status import overlay_value, told_value

MOST_LOG_BYTES = 2 << 20
"""Of each log the end."""
OURS = "overlays,bootstrapsets,relaysets,sipusers"
CHILDREN = (
    "statefulsets,pods,services,configmaps,persistentvolumeclaims,poddisruptionbudgets,events"
)
_USER = re.compile(rb"(sips?:|\"(?:user|name|aor)\": ?\")([^@\"\s;>]+)(?=@|\")")
_SAID = re.compile(
    rb"(^ *(?:- )?(?:user|displayName): |\"displayName\": ?\")([^\"\n]+)", re.MULTILINE
)
"""As a SipUser says it, in YAML and in what was last applied."""
_WORD = re.compile(rb"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_MARK = re.compile(rb"anon-[0-9a-f]{8}")
_PHONE = re.compile(rb"(\"(?:remote|contact|source)\": ?\")([^\"]+)")


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    verb = add_verb(
        verbs, "report", "write a redacted bundle for support", "chordial report -n voice", run
    )
    verb.add_argument(
        "--output", type=Path, metavar="FILE", help="default: chordial-report-TIME.tar.gz"
    )
    verb.add_argument("--peer", default="", metavar="HOST:PORT", help="with --identity: its gRPC")
    add_source_options(verb)


async def run(args: argparse.Namespace, output: Output) -> int:
    """Collect, redact, write; exit 0 when the bundle is there."""
    path: Path = args.output or Path(time.strftime("chordial-report-%Y%m%d-%H%M%S.tar.gz"))
    with output.progress("collecting what peers and resources tell"):
        async with open_peers(args) as peers:
            files = await collect(peers)
            names = await _names(peers) if isinstance(peers, ClusterPeers) else ()
    mark = Marks(secrets.token_bytes(16), names)
    _write(path, archive({name: mark.redacted(text) for name, text in files.items()}))
    output.result({"file": str(path), "holds": sorted(files)})
    output.say(f"{path} holds {len(files)} files without secrets and names; look into it first:")
    for name in sorted(files):
        output.say(f"  {name}")
    return 0


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise FleetError(f"{path} cannot be written: {error.strerror}") from error


async def collect(peers: Peers) -> dict[str, bytes]:
    """Return the files of a report as they were told, not yet redacted."""
    answers = await statuses_of(peers)
    told = [
        {"name": peer.name, **told_value(answer, answer.state if answer else "down")}
        for peer, answer in zip(peers.known(), answers, strict=True)
    ]
    files = {
        "version.txt": f"chordial {__version__}\n".encode(),
        "peers.json": _pretty({"overlay": overlay_value(answers), "peers": told}),
    }
    if isinstance(peers, LocalPeers):
        files |= _local_logs(peers)
    if isinstance(peers, ClusterPeers):
        files |= await _cluster_files(peers)
    return files


def _local_logs(peers: LocalPeers) -> dict[str, bytes]:
    found = {}
    for place in peers.fleet.file.peers:
        log = peers.fleet.folder(place) / "node.log"
        if log.exists():
            found[f"logs/{place.name}.log"] = log.read_bytes()[-MOST_LOG_BYTES:]
    return found


async def _cluster_files(peers: ClusterPeers) -> dict[str, bytes]:
    selector = ("--selector", f"chordial.dev/overlay={peers.overlay}")
    files = {
        "resources.yaml": await peers.read("get", OURS, "--output", "yaml"),
        "children.yaml": await peers.read("get", CHILDREN, *selector, "--output", "yaml"),
        "events.txt": await peers.read("get", "events", "--sort-by", ".lastTimestamp"),
    }
    for pod in peers.pods.values():
        options = ("--tail", "5000", "--limit-bytes", str(MOST_LOG_BYTES))
        files[f"logs/{pod}.log"] = await peers.read("logs", pod, *options)
    return files


async def _names(peers: ClusterPeers) -> tuple[bytes, ...]:
    """Return the names of SipUsers and of their Secrets, which mostly are the users' own."""
    path = "jsonpath={range .items[*]}{.metadata.name} {.status.secretName} {end}"
    return tuple((await peers.read("get", "sipusers", "--output", path)).split())


class Marks:
    """Replaces names and addresses by marks that say nothing outside of one report."""

    def __init__(self, key: bytes, names: Iterable[bytes] = ()) -> None:
        """Take a key that is forgotten afterwards, and names of objects that name users."""
        self._key = key
        self._names = frozenset(names)

    def redacted(self, text: bytes) -> bytes:
        """Return a text with a mark in the place of each SIP user and phone address."""
        if self._names:
            text = _WORD.sub(self._unless_other, text)
        for pattern in (_USER, _SAID, _PHONE):
            text = pattern.sub(self._marked, text)
        return text

    def _marked(self, found: "re.Match[bytes]") -> bytes:
        return found[1] + (found[2] if _MARK.fullmatch(found[2]) else self._mark(found[2]))

    def _unless_other(self, found: "re.Match[bytes]") -> bytes:
        return self._mark(found[0]) if found[0] in self._names else found[0]

    def _mark(self, name: bytes) -> bytes:
        digest = hashlib.blake2b(name, key=self._key, digest_size=4).hexdigest()
        return b"anon-" + digest.encode()


def archive(files: Mapping[str, bytes]) -> bytes:
    """Return a gzipped tar of files, in the order of their names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(f"chordial-report/{name}")
            entry.size = len(files[name])
            entry.mtime = int(time.time())
            tar.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2)
