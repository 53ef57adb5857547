"""What the API server must refuse by the definitions' own rules, with field and words."""

import msgspec

from chordial_operator.spec.manifest import Manifest

SIP: Manifest = {"name": "sip", "transport": "UDP", "port": 5060}
GOOD: dict[str, Manifest] = {
    "Overlay": {"domains": ["voice.example.org"]},
    "BootstrapSet": {"overlayRef": {"name": "voice"}},
    "RelaySet": {"overlayRef": {"name": "voice"}, "listeners": [SIP]},
    "SipUser": {"overlayRef": {"name": "voice"}, "user": "alice", "generate": {}},
}
"""The least of each kind."""


class Refused(msgspec.Struct, frozen=True):
    """A change of a good spec that is refused; None as a value removes a field."""

    kind: str
    change: Manifest
    field: str
    words: str
    before: Manifest = {}
    """What the spec said before, beside the least, where the rule is about a change."""

    def __str__(self) -> str:
        return f"{self.kind}-{self.field}-{'-'.join(self.words.split()[:3])}"


def listener(**changes: object) -> Manifest:
    """Return the change that leaves one listener, not quite a good one."""
    return {"listeners": [{**SIP, **changes}]}


BAD: tuple[Refused, ...] = (
    Refused("Overlay", {"domains": None}, "spec.domains", "Required value"),
    Refused("Overlay", {"domains": []}, "spec.domains", "at least 1 item"),
    Refused("Overlay", {"domains": ["a.example", "a.example"]}, "spec.domains[1]", "Duplicate"),
    Refused("Overlay", {"domains": ["Voice"]}, "spec.domains[0]", "a domain name in lower case"),
    Refused("Overlay", {"domains": ["a..b"]}, "spec.domains[0]", "such as voice.example.org"),
    Refused("Overlay", {"copies": 0}, "spec.copies", "greater than or equal to 1"),
    Refused("Overlay", {"copies": 8}, "spec.copies", "less than or equal to 7"),
    Refused("Overlay", {"copies": 4}, "spec.copies", "must be at most successors"),
    Refused("Overlay", {"copies": "3"}, "spec.copies", "must be of type integer"),
    Refused("Overlay", {"acknowledge": "Two"}, "spec.acknowledge", '"Primary", "Quorum", "All"'),
    Refused("Overlay", {"successors": 2}, "spec.successors", "greater than or equal to 3"),
    Refused("Overlay", {"successors": 17}, "spec.successors", "less than or equal to 16"),
    Refused(
        "Overlay",
        {"disruption": {"maxUnavailable": 2}},
        "spec.disruption.maxUnavailable",
        "must leave a majority of the copies",
    ),
    Refused(
        "Overlay",
        {"copies": 5, "successors": 5, "disruption": {"maxUnavailable": 3}},
        "spec.disruption.maxUnavailable",
        "2 for 5 and 6",
    ),
    Refused(
        "Overlay",
        {"disruption": {"maxUnavailable": 0}},
        "spec.disruption.maxUnavailable",
        "greater than or equal to 1",
    ),
    Refused(
        "Overlay", {"limits": {"maxValueSize": "2Mi"}}, "spec.limits.maxValueSize", "4Ki to 64Ki"
    ),
    Refused(
        "Overlay", {"limits": {"maxValueSize": "much"}}, "spec.limits.maxValueSize", "a quantity"
    ),
    Refused(
        "Overlay",
        {"certificates": {"lifetime": "10s"}},
        "spec.certificates.lifetime",
        "from 1m to 8760h",
    ),
    Refused(
        "Overlay",
        {"certificates": {"lifetime": "48h", "caLifetime": "24h"}},
        "spec.certificates.lifetime",
        "must be shorter than caLifetime",
    ),
    Refused(
        "Overlay",
        {"image": {"tag": "1.0", "digest": "sha256:" + "0" * 64}},
        "spec.image.digest",
        "image.tag and image.digest exclude each other",
    ),
    Refused(
        "Overlay",
        {"upgrade": {"peerTimeout": "1 hour"}},
        "spec.upgrade.peerTimeout",
        "a duration from 30s to 24h",
    ),
    Refused(
        "Overlay",
        {"telemetry": {"otlp": {"endpoint": "collector:4317"}}},
        "spec.telemetry.otlp.endpoint",
        "must be a URL",
    ),
    Refused(
        "Overlay",
        {"telemetry": {"samplePerMille": 1001}},
        "spec.telemetry.samplePerMille",
        "less than or equal to 1000",
    ),
    Refused("Overlay", {"paused": "yes"}, "spec.paused", "must be of type boolean"),
    Refused("BootstrapSet", {"overlayRef": None}, "spec.overlayRef", "Required value"),
    Refused("BootstrapSet", {"replicas": 0}, "spec.replicas", "cannot be scaled to 0"),
    Refused("BootstrapSet", {"replicas": 32}, "spec.replicas", "less than or equal to 31"),
    Refused(
        "BootstrapSet",
        {"exposure": {"type": "HostPort"}},
        "spec.exposure.type",
        '"ClusterIP", "NodePort", "LoadBalancer"',
    ),
    Refused("BootstrapSet", {"storage": {"size": "1M"}}, "spec.storage.size", "at least 64Mi"),
    Refused(
        "BootstrapSet",
        {"storage": {"type": "EmptyDir", "storageClassName": "fast"}},
        "spec.storage.storageClassName",
        "is for type Volume alone",
    ),
    Refused("BootstrapSet", {"drain": {"timeout": "0s"}}, "spec.drain.timeout", "from 10s to 24h"),
    Refused("RelaySet", {"listeners": None}, "spec.listeners", "Required value"),
    Refused("RelaySet", {"listeners": []}, "spec.listeners", "at least one listener is needed"),
    Refused(
        "RelaySet",
        {"listeners": [SIP, {**SIP, "name": "again"}]},
        "spec.listeners",
        "two listeners share a port",
    ),
    Refused(
        "RelaySet",
        {
            "listeners": [
                {"name": "tcp", "transport": "TCP", "port": 5061},
                {"name": "tls", "transport": "TLS", "port": 5061},
            ]
        },
        "spec.listeners",
        "TCP and TLS need different ones",
    ),
    Refused("RelaySet", {"listeners": [SIP, {**SIP, "port": 5070}]}, "spec.listeners[1]", "Dupl"),
    Refused("RelaySet", listener(name="SIP"), "spec.listeners[0].name", "should match"),
    Refused("RelaySet", listener(port=0), "spec.listeners[0].port", "greater than or equal to 1"),
    Refused("RelaySet", listener(transport="WS"), "spec.listeners[0].transport", '"UDP", "TCP"'),
    Refused(
        "RelaySet",
        listener(certificateRef={"name": "tls"}),
        "spec.listeners[0].certificateRef",
        "is for transport TLS alone",
    ),
    Refused(
        "RelaySet",
        listener(transport="TCP", port=6084),
        "spec.listeners[0].port",
        "are the peer's own",
    ),
    Refused("RelaySet", {"drain": {"timeout": "0s"}}, "spec.drain.timeout", "from 10s to 24h"),
    Refused("RelaySet", {"drain": {"timeout": "25h"}}, "spec.drain.timeout", "from 10s to 24h"),
    Refused("RelaySet", {"drain": {"timeout": "ten"}}, "spec.drain.timeout", "such as 10m"),
    Refused(
        "RelaySet", {"drain": {"maxConcurrent": 0}}, "spec.drain.maxConcurrent", "or equal to 1"
    ),
    Refused("RelaySet", {"replicas": -1}, "spec.replicas", "greater than or equal to 0"),
    Refused("RelaySet", {"replicas": 1001}, "spec.replicas", "less than or equal to 1000"),
    Refused(
        "RelaySet",
        {"registration": {"maxExpires": "2h"}},
        "spec.registration.maxExpires",
        "from 10s to 1h",
    ),
    Refused(
        "RelaySet",
        {"unreachableAfter": "1h", "replaceLostAfter": "10m"},
        "spec.replaceLostAfter",
        "must be at least unreachableAfter",
    ),
    Refused(
        "RelaySet",
        {"exposure": {"nodePorts": [{"listener": "sip", "port": 30060}]}},
        "spec.exposure.nodePorts",
        "is for type NodePort and LoadBalancer alone",
    ),
    Refused(
        "RelaySet",
        {
            "exposure": {
                "type": "NodePort",
                "scope": "Peer",
                "nodePorts": [{"listener": "sip", "port": 30060}],
            }
        },
        "spec.exposure.nodePorts",
        "is for scope Set alone",
    ),
    Refused(
        "RelaySet",
        {"exposure": {"type": "NodePort", "nodePorts": [{"listener": "tls", "port": 30060}]}},
        "spec.exposure.nodePorts",
        "names a listener that is not there",
    ),
    Refused(
        "RelaySet",
        {"exposure": {"type": "NodePort", "loadBalancerClass": "cloud"}},
        "spec.exposure.loadBalancerClass",
        "is for type LoadBalancer alone",
    ),
    Refused(
        "RelaySet",
        {"exposure": {"loadBalancerSourceRanges": ["192.0.2.0/24"]}},
        "spec.exposure.loadBalancerSourceRanges",
        "is for type LoadBalancer alone",
    ),
    Refused(
        "RelaySet",
        {"exposure": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0"]}},
        "spec.exposure.loadBalancerSourceRanges[0]",
        "must be a range such as",
    ),
    Refused(
        "RelaySet",
        {"exposure": {"type": "HostPort", "scope": "Peer"}},
        "spec.exposure.scope",
        "has an address of its own already",
    ),
    Refused(
        "RelaySet",
        {"exposure": {"type": "HostPort", "annotations": {"a": "b"}}},
        "spec.exposure.annotations",
        "with HostPort there is none",
    ),
    Refused(
        "RelaySet",
        {"exposure": {"type": "HostPort"}, "advertise": {"from": "Service"}},
        "spec.advertise.from",
        "say Node, or leave it out",
    ),
    Refused(
        "RelaySet",
        {"advertise": {"addresses": ["sip.example.org:5060"]}},
        "spec.advertise.addresses[0]",
        "without a port",
    ),
    Refused(
        "RelaySet",
        {"podMetadata": {"labels": {"chordial.dev/set": "other"}}},
        "spec.podMetadata.labels",
        "are the operator's",
    ),
    Refused(
        "RelaySet",
        {"resources": {"limits": {"memory": "lots"}}},
        "spec.resources.limits.memory",
        "should match",
    ),
    Refused("SipUser", {"user": None}, "spec.user", "Required value"),
    Refused("SipUser", {"user": "alice@home"}, "spec.user", "such as alice or 2001"),
    Refused("SipUser", {"user": "a" * 65}, "spec.user", "may not be more than 64"),
    Refused("SipUser", {"generate": None}, "spec.passwordSecretRef", "a password is needed"),
    Refused(
        "SipUser",
        {"passwordSecretRef": {"name": "alice"}},
        "spec.generate",
        "exclude each other",
    ),
    Refused("SipUser", {"domain": "Voice.Example"}, "spec.domain", "in lower case"),
    Refused("SipUser", {"state": "Off"}, "spec.state", '"Enabled", "Disabled"'),
    Refused("SipUser", {"maxContacts": 0}, "spec.maxContacts", "greater than or equal to 1"),
)

CHANGES: tuple[Refused, ...] = (
    Refused(
        "Overlay",
        {"domains": ["example.org", "voice.example.org"]},
        "spec.domains",
        "the first domain is the realm",
    ),
    Refused(
        "Overlay",
        {"successors": 3},
        "spec.successors",
        "may only grow",
        before={"successors": 4},
    ),
    Refused(
        "Overlay",
        {"certificates": {"caSecretRef": {"name": "ours"}}},
        "spec.certificates.caSecretRef",
        "is fixed when the overlay is founded",
    ),
    Refused(
        "Overlay",
        {"certificates": {"caSecretRef": None}},
        "spec.certificates.caSecretRef",
        "is fixed when the overlay is founded",
        before={"certificates": {"caSecretRef": {"name": "ours"}}},
    ),
    Refused("BootstrapSet", {"overlayRef": {"name": "other"}}, "spec.overlayRef", "is immutable"),
    Refused("BootstrapSet", {"replicas": 0}, "spec.replicas", "delete the BootstrapSet"),
    Refused("BootstrapSet", {"storage": {"type": "EmptyDir"}}, "spec.storage.type", "is immutable"),
    Refused("BootstrapSet", {"storage": {"size": "512Mi"}}, "spec.storage.size", "cannot shrink"),
    Refused(
        "RelaySet",
        {"storage": {"size": None}},
        "spec.storage.size",
        "cannot shrink",
        before={"storage": {"size": "2Gi"}},
    ),
    Refused(
        "RelaySet",
        {"storage": {"storageClassName": "fast"}},
        "spec.storage.storageClassName",
        "is immutable",
    ),
    Refused(
        "RelaySet",
        {"storage": {"storageClassName": None}},
        "spec.storage.storageClassName",
        "is immutable",
        before={"storage": {"storageClassName": "fast"}},
    ),
    Refused("RelaySet", {"overlayRef": {"name": "other"}}, "spec.overlayRef", "create a new"),
    Refused(
        "RelaySet",
        {"exposure": {"loadBalancerClass": "other"}},
        "spec.exposure.loadBalancerClass",
        "cannot change while the type is LoadBalancer",
        before={"exposure": {"type": "LoadBalancer", "loadBalancerClass": "cloud"}},
    ),
    Refused("SipUser", {"user": "bob"}, "spec.user", "is immutable"),
    Refused("SipUser", {"domain": "two.example"}, "spec.domain", "is immutable"),
    Refused("SipUser", {"overlayRef": {"name": "other"}}, "spec.overlayRef", "is immutable"),
)
