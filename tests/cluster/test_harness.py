"""The parts of the harness that need no cluster: certificates, parts, processes."""

import json
import ssl
import sys
from pathlib import Path

import pytest
from cryptography import x509

from tests.cluster.harness import network, parts
from tests.cluster.harness.certificates import Authority, write_kubeconfig
from tests.cluster.harness.cluster import mounts_below
from tests.cluster.harness.processes import ProcessError, Processes, started


def test_every_tool_has_a_place_of_its_own() -> None:
    places = [path for tool in parts.EVERYTHING for path in parts.binaries(tool)]
    assert len(set(places)) == len(places)
    assert len({path.parent for path in places}) == 5


def test_kubernetes_replaces_its_own_modules_and_says_its_version() -> None:
    text = parts.CONTROL.go_mod()
    assert "require k8s.io/kubernetes v1.34.4\n" in text
    assert text.count("replace k8s.io/") == 31
    assert "replace k8s.io/api => k8s.io/api v0.34.4\n" in text
    assert "version.gitMinor=34 " in parts.CONTROL.link_flags()


def test_a_missing_program_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CHORDIAL_PARTS", str(tmp_path))
    with pytest.raises(parts.PartsError, match="make cluster-parts"):
        parts.program("kubelet")
    assert len(parts.missing(parts.API_TIER)) == 4
    with pytest.raises(parts.PartsError, match="apt-get install no-such-program"):
        parts.installed("no-such-program")


def test_a_certificate_is_good_for_who_it_names(tmp_path: Path) -> None:
    ca = Authority(tmp_path, "ca")
    certificate, key = ca.issue(
        "node", "system:node:node-1", ["system:nodes"], ["node-1"], ["192.0.2.1"]
    )
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    authority = x509.load_pem_x509_certificate(ca.certificate_path.read_bytes())
    loaded.verify_directly_issued_by(authority)
    assert loaded.subject.rfc4514_string() == "CN=system:node:node-1,O=system:nodes"
    context = ssl.create_default_context(cafile=str(ca.certificate_path))
    context.load_cert_chain(certificate, key)
    assert key.stat().st_mode & 0o077 == 0
    path = write_kubeconfig(tmp_path / "x.kubeconfig", "https://x", certificate, (certificate, key))
    assert json.loads(path.read_text())["clusters"][0]["cluster"]["server"] == "https://x"


def test_a_process_is_found_again_and_ended_by_its_id(tmp_path: Path) -> None:
    pid = Processes(tmp_path).start("sleeper", [sys.executable, "-c", "input() or exit(3)"])
    ended = Processes(tmp_path)
    with pytest.raises(ProcessError, match="sleeper ended before a word"):
        ended.wait("sleeper", "a word", lambda: False, 20.0)  # its input is at its end at once
    assert started(pid) is None
    waiting = [sys.executable, "-c", "import signal; signal.pause()"]
    pid = Processes(tmp_path).start("waiter", waiting)
    found = Processes(tmp_path)
    assert found.running("waiter") == pid
    found.end()
    assert started(pid) is None
    assert found.record() == {}


def test_an_id_that_somebody_else_has_now_is_left_alone(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    waiting = [sys.executable, "-c", "import signal; signal.pause()"]
    pid = processes.start("waiter", waiting)
    record = tmp_path / "processes.json"
    other = tmp_path / "other"
    other.mkdir()
    (other / "processes.json").write_text(
        record.read_text().replace(str(started(pid)), str((started(pid) or 0) + 1))
    )
    Processes(other).end()
    assert processes.running("waiter") == pid
    processes.end()


def test_no_two_nodes_share_an_address() -> None:
    addresses = [network.node_address(number) for number in range(4)]
    addresses += [network.phone_address(number) for number in range(1, 100)]
    assert len(set(addresses)) == len(addresses)
    assert network.MACHINE not in addresses


def test_only_mounts_below_the_folder_are_ours() -> None:
    assert mounts_below(Path("/no/such/folder")) == []
    assert all(point.startswith("/proc/") for point in mounts_below(Path("/proc")))
