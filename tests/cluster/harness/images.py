"""Images without a registry: a base made by debootstrap, the product's from its own Dockerfiles.

What is built is an archive that every node imports. A product image is built again only when one
of the files that go into it has changed; its tag says which content it is.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.cluster.harness import parts
from tests.cluster.harness.parts import PartsError, Tell, installed
from tests.cluster.harness.worker import PAUSE_IMAGE

ROOT = Path(__file__).resolve().parents[3]
SUITE = "bookworm"
BASE = f"localhost/chordial/base:{SUITE}"
TAG = "dev"
PRODUCTS = ("node", "operator")
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
"""Mounted while building: where a proxy re-signs TLS, the base does not know its authority."""
PACKAGES = "python3,python3-venv,ca-certificates"


def name_of(product: str) -> str:
    """The full name of a product image: `node` or `operator`."""
    return f"localhost/chordial/{product}:{TAG}"


def archive_of(product: str) -> Path:
    """Where the archive of an image lies."""
    return parts.cache() / "images" / f"{product}.tar"


def build_all(tell: Tell) -> list[Path]:
    """Build the pause image and the product's; return the archives."""
    return [build_pause(), *(build_product(product, tell) for product in PRODUCTS)]


def build_pause() -> Path:
    """Make the image of the one static program that holds a pod's namespaces."""
    archive = archive_of("pause")
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        write_scratch_image(archive, PAUSE_IMAGE, parts.program("pause"))
    return archive


def build_product(product: str, tell: Tell, base: str = BASE) -> Path:
    """Build a product's image from its Dockerfile if anything that goes into it has changed."""
    archive, stamp = archive_of(product), archive_of(product).with_suffix(".sha256")
    digest = digest_of(sources(product))
    if archive.exists() and stamp.exists() and stamp.read_text() == digest:
        return archive
    build_base(tell)
    name = name_of(product)
    tell(f"{name}: building")
    buildah(
        "build", "--build-arg", f"BASE={base}", "--file", f"{product}/Dockerfile",
        "--label", f"sh.chordial.content={digest[:16]}", "--layers", *mounts(), "--tag", name, ".",
    )  # fmt: skip
    new = archive.with_suffix(".new")
    new.unlink(missing_ok=True)
    # digests are known beforehand in this form: a node skips the layers that it has
    buildah("push", "--disable-compression", name, f"oci-archive:{new}:{name}")
    new.replace(archive)
    stamp.write_text(digest)
    tell(f"{name}: {archive} ({archive.stat().st_size >> 20} MiB)")
    return archive


def build_base(tell: Tell) -> None:
    """Make the base image with Debian's Python, once."""
    if BASE in buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        return
    folder = parts.cache() / f"base-{SUITE}"
    root, new = folder / "rootfs", folder / "rootfs.new"
    if not root.exists():
        tell(f"{BASE}: debootstrap {SUITE} (about a minute)")
        shutil.rmtree(new, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        _run([installed("debootstrap"), "--variant=minbase", f"--include={PACKAGES}", SUITE, new])
        slim(new)
        new.rename(root)
    container = buildah("from", "scratch").strip()
    try:
        buildah("add", container, str(root), "/")
        buildah("config", "--cmd", "/usr/bin/python3", container)
        buildah("commit", container, BASE)
    finally:
        buildah("rm", container)


def slim(root: Path) -> None:
    """Take out of a root file system what only its installation needed."""
    for pattern in ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*", "usr/share/doc/*",
                    "usr/share/man/*", "usr/share/locale/*", "var/log/*.log"):  # fmt: skip
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def sources(product: str) -> list[Path]:
    """The files of the checkout that go into a product's image."""
    packages = [ROOT / "node" / "chordial_node"]
    if product == "operator":
        packages.append(ROOT / "operator" / "chordial_operator")
    found = [
        path
        for package in packages
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]
    return [*found, ROOT / product / "Dockerfile", ROOT / product / "requirements.lock"]


def digest_of(files: Iterable[Path]) -> str:
    """One digest of the names and contents of files."""
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.relative_to(ROOT)}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def mounts() -> list[str]:
    """What of this machine a build sees: its certificate authorities."""
    return ["--volume", f"{AUTHORITIES}:{AUTHORITIES}:ro"] if AUTHORITIES.exists() else []


def buildah(*arguments: str) -> str:
    """Run buildah with a store of our own."""
    store = parts.cache() / "buildah"
    place = ["--root", str(store / "root"), "--runroot", str(store / "run")]
    return _run([installed("buildah"), *place, *arguments])


def write_scratch_image(archive: Path, name: str, binary: Path) -> None:
    """Write a docker-archive of one layer with one program."""
    layer = _tar({binary.name: (binary.read_bytes(), 0o755)})
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{binary.name}"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {
        "config.json": (json.dumps(config).encode(), 0o644),
        "layer.tar": (layer, 0o644),
        "manifest.json": (json.dumps(manifest).encode(), 0o644),
    }
    archive.write_bytes(_tar(files))


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _run(command: Sequence[str | Path]) -> str:
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        told = "\n  ".join((done.stdout + done.stderr).splitlines()[-20:])
        raise PartsError(f"{' '.join(map(str, command[:6]))} … failed:\n  {told}")
    return done.stdout
