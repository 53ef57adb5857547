"""Which programs a cluster is made of, at which versions, and where they are found or built.

Nothing is downloaded as a binary: Go programs are built from their modules, one small go.mod per
tool (one for all would mix their versions), the rest are Debian packages. What is built goes into
a cache outside the checkout, keyed by version, and only what is missing is built. How the programs
are started must never be put here.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Tell = Callable[[str], None]

SOURCES = Path(__file__).parent / "sources"
SEARCHED = (*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/local/go/bin", "/usr/sbin")
KUBERNETES = "1.34.4"
STAGING = [
    "api", "apiextensions-apiserver", "apimachinery", "apiserver", "cli-runtime", "client-go",
    "cloud-provider", "cluster-bootstrap", "code-generator", "component-base",
    "component-helpers", "controller-manager", "cri-api", "cri-client", "csi-translation-lib",
    "dynamic-resource-allocation", "endpointslice", "externaljwt", "kms", "kube-aggregator",
    "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet", "metrics",
    "mount-utils", "pod-security-admission", "sample-apiserver", "sample-cli-plugin",
    "sample-controller",
]  # fmt: skip
PACKAGES_PER_LINE = 250


class PartsError(Exception):
    """A part is missing or cannot be built; the message says how to get it."""


@dataclass(frozen=True)
class GoTool:
    """One Go module at one version, and the commands that are built from it."""

    name: str
    version: str
    module: str
    commands: tuple[str, ...]
    """Package paths under the module."""
    staging: bool = False
    """Its own modules are required at v0.0.0 and must be replaced."""
    main: str | None = None
    """A main of ours that imports the module."""

    says: str | None = None
    """The variable of the program that holds its version."""

    def binary(self, command: str) -> Path:
        """Where a command of this tool lies once it is built."""
        return cache() / f"{self.name}-{self.version}" / command

    def go_mod(self) -> str:
        """The tool's own go.mod."""
        lines = ["module parts", "go 1.24.0"]
        if self.staging:
            lines.append("godebug default=go1.24")
            minor = self.version.removeprefix("1.")
            lines += [f"replace k8s.io/{name} => k8s.io/{name} v0.{minor}" for name in STAGING]
        return "\n".join([*lines, f"require {self.module} v{self.version}", ""])

    def link_flags(self) -> str:
        """What the linker writes into the binary: without a version Helm's checks break."""
        if self.says is not None:
            return f"-s -w -X {self.says}=v{self.version}"
        if not self.staging:
            return "-s -w"
        major, minor, _ = self.version.split(".")
        base = "-X k8s.io/component-base/version."
        return (
            f"-s -w {base}gitVersion=v{self.version} {base}gitMajor={major} {base}gitMinor={minor}"
            f" -X k8s.io/client-go/pkg/version.gitVersion=v{self.version}"
        )


ETCD = GoTool("etcd", "3.6.16", "go.etcd.io/etcd/server/v3", ("",))
CONTROL = GoTool(
    "kubernetes", KUBERNETES, "k8s.io/kubernetes",
    ("cmd/kube-apiserver", "cmd/kube-controller-manager", "cmd/kubectl"), staging=True,
)  # fmt: skip
NODES = GoTool(
    "kubernetes", KUBERNETES, "k8s.io/kubernetes",
    ("cmd/kube-scheduler", "cmd/kubelet", "cmd/kube-proxy"), staging=True,
)  # fmt: skip
COREDNS = GoTool("coredns", "1.15.0", "github.com/coredns/coredns", (), main="coredns.go")
HELM4 = GoTool(
    "helm",
    "4.3.1",
    "helm.sh/helm/v4",
    ("cmd/helm",),
    says="helm.sh/helm/v4/internal/version.version",
)
HELM3 = GoTool(
    "helm",
    "3.22.0",
    "helm.sh/helm/v3",
    ("cmd/helm",),
    says="helm.sh/helm/v3/internal/version.version",
)

API_TIER = (ETCD, CONTROL)
EVERYTHING = (*API_TIER, NODES, COREDNS, HELM4, HELM3)

DEBIAN = {  # program or folder: package
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "socat": "socat",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "tcpdump": "tcpdump",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
    "openssl": "openssl",
    "gcc": "gcc libc6-dev",
}


def cache() -> Path:
    """The folder outside the checkout where parts are kept: CHORDIAL_PARTS or the user's cache."""
    named = os.environ.get("CHORDIAL_PARTS")
    return Path(named) if named else Path.home() / ".cache" / "chordial" / "cluster"


def binaries(tool: GoTool) -> list[Path]:
    """Where the programs of a tool lie once they are built."""
    return [tool.binary(Path(command).name or tool.name) for command in tool.commands or ("",)]


def program(name: str) -> Path:
    """The path of a built Kubernetes program, etcd, coredns or pause; PartsError if not built."""
    found = {path.name: path for tool in EVERYTHING for path in binaries(tool)}
    found["pause"] = pause()
    path = found[name]
    if not path.exists():
        raise PartsError(f"{path} is not built: make cluster-parts")
    return path


def pause() -> Path:
    """Where the pause program lies once it is built."""
    return cache() / "pause-1" / "pause"


def installed(name: str) -> str:
    """The path of a program that a Debian package brings; PartsError says which."""
    found = name if Path(name).is_absolute() and Path(name).exists() else None
    found = found or shutil.which(name, path=os.pathsep.join(SEARCHED))
    if found is None:
        raise PartsError(f"{name} is not here: apt-get install {DEBIAN.get(name, name)}")
    return found


def missing(tools: Sequence[GoTool] = EVERYTHING) -> list[Path]:
    """The built programs that are not in the cache."""
    wanted = [path for tool in tools for path in binaries(tool)]
    if HELM3 in tools:
        wanted.append(pause())
    return [path for path in wanted if not path.exists()]


def missing_packages() -> list[str]:
    """The Debian packages that a whole cluster needs and this machine lacks."""
    absent: dict[str, None] = {}
    for name, package in DEBIAN.items():
        try:
            installed(name)
        except PartsError:
            absent[package] = None
    return list(absent)


def build(tell: Tell, tools: Sequence[GoTool] = EVERYTHING) -> None:
    """Build what is missing of these tools, one after the other."""
    with _lock():
        for tool in tools:
            if any(not path.exists() for path in binaries(tool)):
                _build_go(tool, tell)
        if HELM3 in tools and not pause().exists():
            _build_pause(tell)


@contextmanager
def _lock() -> Iterator[None]:
    """One build at a time in a cache."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build_go(tool: GoTool, tell: Tell) -> None:
    go = installed_go()
    names = " ".join(path.name for path in binaries(tool))
    tell(f"{tool.name} {tool.version}: building {names}")
    work = cache() / "work" / f"{tool.name}-{tool.version}"
    shutil.rmtree(work, ignore_errors=True)
    (work / "out").mkdir(parents=True)
    (work / "go.mod").write_text(tool.go_mod())
    if tool.main is not None:
        shutil.copy(SOURCES / tool.main, work / "main.go")
        _run([go, "mod", "tidy"], work, tell, tool)
        targets = ["."]
    else:
        targets = ["/".join(filter(None, (tool.module, command))) for command in tool.commands]
    for target, binary in zip(targets, binaries(tool), strict=True):
        made = work / "out" / binary.name
        flags = ["-v", "-trimpath", "-ldflags", tool.link_flags(), "-o", str(made)]
        _run([go, "build", *flags, target], work, tell, tool)
        binary.parent.mkdir(parents=True, exist_ok=True)
        made.replace(binary)
        tell(f"{tool.name} {tool.version}: {binary} ({binary.stat().st_size >> 20} MiB)")
    shutil.rmtree(work)


def _run(command: Sequence[str], work: Path, tell: Tell, tool: GoTool) -> None:
    """Run one step of a build; every so many packages a line tells how far it is."""
    environment = {
        **os.environ,
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=mod -buildvcs=false",
        "CGO_ENABLED": "0",
    }
    last: list[str] = []
    with subprocess.Popen(
        command, cwd=work, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for count, line in enumerate(process.stdout, 1):
            last = [*last[-19:], line.rstrip()]
            if count % PACKAGES_PER_LINE == 0:
                tell(f"{tool.name} {tool.version}: {count} steps, now {last[-1]}")
    if process.returncode:
        told = "\n  ".join(last)
        raise PartsError(f"{tool.name} {tool.version} cannot be built ({command[1]}):\n  {told}")


def installed_go() -> str:
    """The path of the Go compiler; PartsError if there is none."""
    try:
        return installed("go")
    except PartsError:
        raise PartsError("Go is not here: install Go 1.26 or later (it builds the parts)") from None


def _build_pause(tell: Tell) -> None:
    tell("pause: building")
    pause().parent.mkdir(parents=True, exist_ok=True)
    made = pause().with_suffix(".new")
    subprocess.run(
        [installed("gcc"), "-static", "-Os", "-s", "-o", made, SOURCES / "pause.c"], check=True
    )
    made.replace(pause())
