"""What goes into an image: its own part of the one lock, and what its Dockerfile names."""

import re

import pytest

from tests.cluster.harness import images

PIN = re.compile(
    r"^([a-z0-9._-]+==[^ ]+)(?: ; .*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M
)


def pins(path: str) -> dict[str, list[str]]:
    """The versions in a lock, each with its hashes."""
    text = (images.ROOT / path).read_text()
    found = {pin: re.findall(r"sha256:(\w+)", hashes) for pin, hashes in PIN.findall(text)}
    assert len(found) == text.count("==") - text.count(" == ")
    return found


@pytest.mark.parametrize("product", images.PRODUCTS)
def test_the_lock_of_an_image_is_part_of_the_one_lock(product: str) -> None:
    whole = pins("requirements.lock")
    part = pins(f"{product}/requirements.lock")
    assert part
    assert part == {pin: whole[pin] for pin in part}


@pytest.mark.parametrize(
    ("product", "foreign"),
    [("node", "kopf|kubernetes|aiohttp"), ("operator", "opentelemetry|uvloop|rich")],
)
def test_an_image_has_nothing_of_the_other(product: str, foreign: str) -> None:
    assert not [pin for pin in pins(f"{product}/requirements.lock") if re.match(foreign, pin)]


@pytest.mark.parametrize("product", images.PRODUCTS)
def test_a_dockerfile_is_as_a_strict_cluster_wants_it(product: str) -> None:
    lines = (images.ROOT / product / "Dockerfile").read_text().splitlines()
    last = lines[len(lines) - lines[::-1].index("FROM ${BASE}") :]
    assert "USER 10001:10001" in last
    start = f'ENTRYPOINT ["/opt/chordial/bin/python", "-m", "chordial_{product}"]'
    assert start in last
    assert not [line for line in last if line.startswith(("RUN", "ADD", "VOLUME"))]


def test_an_image_is_built_again_when_its_content_changes() -> None:
    node, operator = (images.digest_of(images.sources(name)) for name in images.PRODUCTS)
    assert node != operator
    assert node == images.digest_of(images.sources("node"))
