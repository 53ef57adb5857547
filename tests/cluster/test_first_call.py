"""Proof 1: the README's commands, word for word, from nothing to the first call.

Between the heading and the call stand only commands that a reader types; what the test adds is
what the reader has: a registry with the images, kubectl and Helm on the path, a cluster's
kubeconfig. The times are printed, not asserted.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.harness import parts
from tests.cluster.harness.cluster import Cluster
from tests.cluster.installation import READY_SECONDS, ROOT, Installation, registry_and_tag

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

HEADING = "### To the first call"
END = re.compile(r"^\| end it \| (.+) \|$", re.M)
NAMESPACE = "voice"
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)


def block_below(text: str, heading: str) -> list[str]:
    """The commands of the first block of shell below a heading, each as it stands."""
    found = FENCE.search(text, text.index(f"\n{heading}\n"))
    assert found is not None, f"README.md has no commands below {heading!r}"
    lines = found[1].replace("\\\n", "\\\0").splitlines()
    return [line.replace("\0", "\n") for line in lines if line and not line.startswith("#")]


def commands_of_end(text: str) -> list[str]:
    """The commands with which the README ends it all."""
    found = END.search(text)
    assert found is not None, "README.md does not say how to end it"
    return re.findall("`([^`]+)`", found[1])


@pytest.fixture
def nothing(cluster: Cluster) -> Iterator[Installation]:
    """A cluster in which the README's namespace has never been."""
    installation = Installation(cluster, NAMESPACE)
    installation.remove()
    try:
        with installation.owning_definitions():
            yield installation
    finally:
        installation.remove()


def test_from_nothing_to_the_first_call_by_the_readme(
    nothing: Installation, tell: Callable[[str], None]
) -> None:
    readme = (ROOT / "README.md").read_text()
    commands = block_below(readme, HEADING)
    whole = time.monotonic()
    said = [typed(command, nothing, tell) for command in commands]
    tell(f"README, from nothing to the first call: {time.monotonic() - whole:.1f} s")
    assert commands[0].startswith("helm install ")
    assert commands[-1].startswith("helm test ")
    assert "✓ register and call: " in said[-1], said[-1]
    for command in commands_of_end(readme):
        typed(command, nothing, tell)
    everything = "overlays,bootstrapsets,relaysets,sipusers,statefulsets,deployments"
    assert nothing.kubectl("get", everything, "-o", "name") == ""


def typed(command: str, installation: Installation, tell: Callable[[str], None]) -> str:
    """What a command of the README says, typed by somebody who has a cluster and a registry."""
    registry, tag = registry_and_tag()
    programs = [str(parts.program("kubectl").parent), str(installation.helm_program.parent)]
    environment = {
        **os.environ,
        "KUBECONFIG": str(installation.cluster.kubeconfig),
        "PATH": os.pathsep.join([*programs, os.environ["PATH"]]),
        "REGISTRY": registry,
        "TAG": tag,
    }
    began = time.monotonic()
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=READY_SECONDS + 20.0, check=False,
    )  # fmt: skip
    took = time.monotonic() - began
    first = command.replace("\\\n", "").split(" --set ")[0]
    tell(f"  {took:6.1f} s  {' '.join(first.split())}")
    if done.returncode:
        pods = installation.kubectl("get", "chordial,pods", "-o", "wide")
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}\n{pods}")
    return done.stdout
