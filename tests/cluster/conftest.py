"""The cluster that these tests share, and why they do not run unless asked.

A test marked `cluster` needs three nodes of Kubernetes, root, and minutes: `make test` leaves it
out, `make test-cluster` runs it. One that runs already (`make cluster-up`) is used and left
running, with the images of what is in the checkout now.
"""

import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack

import pytest

from tests.cluster.fleet import Fleet
from tests.cluster.harness import parts
from tests.cluster.harness.cluster import Cluster
from tests.cluster.quiet import QuietPhone, quiet

LEFT_OUT = pytest.StashKey[int]()
TOLD = pytest.StashKey[list[str]]()
SHARED = pytest.StashKey[ExitStack]()
OF_THE_FLEET = (
    "test_calls", "test_outsiders", "test_impostor", "test_quiet_phone", "test_restart",
)  # fmt: skip
"""These share one fleet, in this order: the last two want what the others have left."""
BREAKS_THE_CLUSTER = ("test_cable",)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the cluster's tests out of a run that did not ask for them by `-m cluster`."""
    if "cluster" in config.getoption("markexpr"):
        items.sort(key=place_of)
        return
    left_out = [item for item in items if item.get_closest_marker("cluster")]
    config.stash[LEFT_OUT] = len(left_out)
    if left_out:
        items[:] = [item for item in items if not item.get_closest_marker("cluster")]
        config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """End the fleet that tests share after the last of them: others change the definitions."""
    result = yield
    is_last = nextitem is not None and place_of(nextitem)[0] != 0
    if is_last and place_of(item)[0] == 0 and SHARED in item.config.stash:
        item.config.stash[SHARED].close()
    return result


def place_of(item: pytest.Item) -> tuple[int, int]:
    """The place of a test among all: those that share a fleet, others, those under load, last."""
    name = item.path.stem
    if name in OF_THE_FLEET:
        return 0, OF_THE_FLEET.index(name)
    if name in BREAKS_THE_CLUSTER:
        return 3, 0
    return (2 if item.path.parent.name == "load" else 1), 0


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    count = config.stash.get(LEFT_OUT, 0)
    return [f"{count} tests need a cluster: make test-cluster"] if count else []


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what tests have measured: figures are told, not asserted."""
    told = config.stash.get(TOLD, [])
    if told:
        terminalreporter.section("measured on the cluster")
        for line in told:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Tell a figure; all of them stand at the end of the run."""
    return pytestconfig.stash.setdefault(TOLD, []).append


@pytest.fixture(scope="session")
def fleet(cluster: Cluster, pytestconfig: pytest.Config) -> Iterator[Fleet]:
    """An overlay of five seeds and three relays behind a balancer; no test may take it apart."""
    made = Fleet(cluster)
    with ExitStack() as shared:
        pytestconfig.stash[SHARED] = shared
        shared.callback(made.installation.remove)
        made.start()
        yield made


@pytest.fixture(scope="session")
def quiet_phone(
    fleet: Fleet, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> QuietPhone:
    """A phone behind a NAT that says nothing from now on: who wants its silence begins it early."""
    shared = pytestconfig.stash[SHARED]
    return shared.enter_context(quiet(fleet, tmp_path_factory.mktemp("quiet")))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The three-node cluster with the product's images loaded."""
    absent = [path.name for path in parts.missing()] + parts.missing_packages()
    if absent or os.geteuid():
        reason = "a cluster needs root"
        if absent:
            packages = " ".join(parts.missing_packages())
            install = f"apt-get install {packages}; " if packages else ""
            reason = f"{absent[0]} is not here: {install}make cluster-parts"
        if os.environ.get("CHORDIAL_REQUIRE_ALL") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    cluster = Cluster()
    refusal = why_not_to_touch(cluster)
    if refusal:
        pytest.fail(refusal, pytrace=False)
    if cluster.is_running():
        cluster.wait_ready()
        cluster.load_products(_tell)
        yield cluster
        return
    try:
        cluster.start(_tell)
        yield cluster
    finally:
        cluster.stop()


def why_not_to_touch(cluster: Cluster) -> str:
    """Say why a cluster is neither used nor started anew; empty: it may be.

    A start removes what is there. One of which a part has ended may be in use by others all the
    same, and is theirs to end.
    """
    ended = cluster.ended()
    if not ended or len(ended) == len(cluster.processes.record()):
        return ""
    return (
        f"a cluster runs in {cluster.folder}, but {', '.join(ended)} ended: see its logs, and"
        " start it anew (make cluster-down, make cluster-up) when nobody uses it"
    )


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
