"""What the operator is told at its start: flags, and the environment that the chart sets.

Read once, all problems told together; nothing else reads the environment.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Literal, NoReturn

import msgspec

from chordial_operator.names import ENROLLMENT_PORT, PROBE_PORT

LEVELS = ("debug", "info", "warning", "error")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
DEFAULT_IMAGE = "chordial/node:latest"


class SettingsError(ValueError):
    """The operator cannot start with these settings; the message names every problem."""


PullPolicy = Literal["Always", "IfNotPresent", "Never"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of one operator."""

    namespace: str
    """Its own: authorities' Secrets and the Lease lie there."""
    pod_name: str
    watch_namespaces: tuple[str, ...] = ()
    """Whose overlays it runs; empty: those of all namespaces."""
    node_image: str = DEFAULT_IMAGE
    node_image_pull_policy: PullPolicy = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    enrollment_host: str
    """Under which peers reach the operator's enrollment."""
    enrollment_port: int = ENROLLMENT_PORT
    enrollment_listen: str = "[::]"
    first_overlay: str = ""
    """Name of the ConfigMap with the chart's first Overlay; empty: there is none."""
    probe_port: int = PROBE_PORT
    probe_listen: str = ""
    """Address of the probes; empty: all."""
    watch_nodes: bool = True
    """Whether Nodes may be read; without it a peer's failure domain is the name of its Node."""
    tells_registered: bool = True
    """Whether the status of a SipUser says if a phone is registered: many phones, many writes."""
    log_level: str = "info"
    kubeconfig: str = ""
    """File; empty: the account of the pod."""
    worker_limit: int = 16


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is an exception: all problems are told together."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(message)


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return the settings; a flag wins over the environment."""
    given = _parser(environment).parse_args(list(arguments))
    watched = _names(given.watch_namespaces)
    settings = Settings(
        namespace=given.namespace,
        pod_name=given.pod_name,
        watch_namespaces=() if given.all_namespaces else watched,
        node_image=given.node_image,
        node_image_pull_policy=given.node_image_pull_policy,
        image_pull_secrets=_names(given.image_pull_secrets),
        enrollment_host=given.enrollment_host,
        enrollment_port=given.enrollment_port,
        enrollment_listen=given.enrollment_listen,
        first_overlay=given.first_overlay,
        probe_port=given.probe_port,
        probe_listen=given.probe_listen,
        watch_nodes=not given.no_nodes,
        tells_registered=given.tell_registered == "true",
        log_level=given.log_level,
        kubeconfig=given.kubeconfig,
        worker_limit=given.workers,
    )
    problems = settings_problems(settings)
    if given.tell_registered not in ("true", "false"):
        problems.append(f"--tell-registered must be true or false, not {given.tell_registered!r}")
    if problems:
        raise SettingsError("; ".join(problems))
    return settings


def settings_problems(settings: Settings) -> list[str]:
    """Return everything that is wrong with the settings, each with what to do."""
    problems = []
    if not settings.namespace:
        problems.append("--namespace or CHORDIAL_NAMESPACE must name the operator's own namespace")
    if not settings.pod_name:
        problems.append("--pod-name or CHORDIAL_POD_NAME must name this operator")
    if not settings.enrollment_host:
        problems.append(
            "--enrollment-host or CHORDIAL_ENROLLMENT_HOST must name the operator's Service"
        )
    if settings.log_level not in LEVELS:
        problems.append(f"--log-level must be {', '.join(LEVELS)}, not {settings.log_level!r}")
    if settings.node_image_pull_policy not in PULL_POLICIES:
        problems.append(
            f"--node-image-pull-policy must be {', '.join(PULL_POLICIES)},"
            f" not {settings.node_image_pull_policy!r}"
        )
    if not settings.node_image:
        problems.append("--node-image or CHORDIAL_NODE_IMAGE must name the image of peers")
    for flag, port in (
        ("--enrollment-port", settings.enrollment_port),
        ("--probe-port", settings.probe_port),
    ):
        if not 0 <= port <= 65_535:
            problems.append(f"{flag} must be 0 to 65535, not {port}")
    if not 1 <= settings.worker_limit <= 16:
        problems.append(f"--workers must be 1 to 16, not {settings.worker_limit}")
    return problems


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="chordial-operator", description="Runs overlays of Chordial.")

    def add(flag: str, variable: str, default: str, text: str) -> None:
        said = environment.get(variable) or default
        parser.add_argument(flag, default=said, help=f"{text} (environment: {variable})")

    add("--namespace", "CHORDIAL_NAMESPACE", "", "the operator's own namespace")
    add("--pod-name", "CHORDIAL_POD_NAME", "", "name of this operator, in its Lease and Events")
    add("--watch-namespaces", "CHORDIAL_WATCH_NAMESPACES", "", "whose overlays it runs, by comma")
    parser.add_argument("--all-namespaces", action="store_true", help="run those of all namespaces")
    add("--node-image", "CHORDIAL_NODE_IMAGE", DEFAULT_IMAGE, "image of peers")
    add(
        "--node-image-pull-policy", "CHORDIAL_NODE_IMAGE_PULL_POLICY", "IfNotPresent",
        "when it is pulled",
    )  # fmt: skip
    add("--image-pull-secrets", "CHORDIAL_IMAGE_PULL_SECRETS", "", "for all peers, by comma")
    add("--enrollment-host", "CHORDIAL_ENROLLMENT_HOST", "", "Service that peers enroll at")
    parser.add_argument(
        "--enrollment-port", type=int, default=ENROLLMENT_PORT, help="port that peers enroll at"
    )
    parser.add_argument("--enrollment-listen", default="[::]", help="address that it listens on")
    add("--first-overlay", "CHORDIAL_FIRST_OVERLAY", "", "ConfigMap with the first Overlay")
    parser.add_argument(
        "--probe-port", type=int, default=PROBE_PORT, help="port of probes and metrics"
    )
    parser.add_argument("--probe-listen", default="", help="address of the probes; empty: all")
    parser.add_argument("--no-nodes", action="store_true", help="do not read Nodes")
    add(
        "--tell-registered", "CHORDIAL_TELL_REGISTERED", "true",
        "whether a SipUser's status says if a phone is registered",
    )  # fmt: skip
    add("--log-level", "CHORDIAL_LOG_LEVEL", "info", ", ".join(LEVELS))
    add("--kubeconfig", "KUBECONFIG", "", "file; empty: the account of the pod")
    parser.add_argument("--workers", type=int, default=16, help="turns at one time")
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)
