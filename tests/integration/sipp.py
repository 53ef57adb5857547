"""SIPp as the tests use it: one run, its counts, its process ended by id."""

import csv
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.integration.rig import DOMAIN, SCENARIOS, end, free_port, wait_for


class Counts(msgspec.Struct, frozen=True):
    """What SIPp counted at its end."""

    successful: int
    failed: int
    retransmitted: int


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    """Write an injection file: field 0, 1, 2 … a line a call."""
    with path.open("w", newline="") as file:
        file.write("SEQUENTIAL\n")
        file.writelines(";".join(row) + "\n" for row in rows)
    return path


def authentication(user: str) -> str:
    """Return the SIPp keyword that answers a challenge as this user."""
    return f"[authentication username={user} password={user}pw]"


def run(
    sipp: Path, scenario: str, server: tuple[str, int], folder: Path, *options: str,
    timeout: float = 90.0, address: str = "127.0.0.1", inside: Sequence[str] = (),
    domain: str = DOMAIN, port: int = 0,
) -> Counts:  # fmt: skip
    """Run a client scenario to its end and return what it counted.

    `inside` is what is put before the command so that it runs in a namespace of the network.
    """
    stats = folder / f"{scenario}.csv"
    stats.unlink(missing_ok=True)
    done = subprocess.run(
        [
            *inside, str(sipp), f"{server[0]}:{server[1]}",
            "-sf", str(_scenario(scenario, folder, domain)),
            "-i", address, "-p", str(port or free_port()), "-nostdin",
            "-trace_stat", "-stf", str(stats), "-fd", "1", "-trace_err", "-error_file",
            str(folder / f"{scenario}.errors"), *options,
        ],
        cwd=folder, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert stats.exists(), f"SIPp counted nothing: {done.stdout[-2000:]} {done.stderr[-2000:]}"
    return read_counts(stats)


def read_counts(stats: Path) -> Counts:
    """Return the last line of a statistics file."""
    with stats.open() as file:
        last = list(csv.DictReader(file, delimiter=";"))[-1]
    return Counts(
        int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"]), int(last["Retransmissions(C)"])
    )


@contextmanager
def answering(
    sipp: Path, folder: Path, *options: str, address: str = "127.0.0.1",
    inside: Sequence[str] = (), port: int = 0,
) -> Iterator[tuple[int, Path]]:  # fmt: skip
    """Run a SIPp that answers calls; gives its port and its statistics file."""
    port = port or free_port()
    stats = folder / "answer.csv"
    process = subprocess.Popen(
        [
            *inside, str(sipp), "-sf", str(SCENARIOS / "answer.xml"), "-i", address,
            "-p", str(port), "-nostdin", "-trace_stat", "-stf", str(stats), "-fd", "1", *options,
        ],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: stats.exists() or process.poll() is not None)
        assert process.poll() is None, "SIPp did not start"
        yield port, stats
    finally:
        end(process)


def _scenario(name: str, folder: Path, domain: str) -> Path:
    """The file of a scenario, written anew where the domain is another one."""
    stored = SCENARIOS / f"{name}.xml"
    if domain == DOMAIN:
        return stored
    written = folder / f"{name}-{domain}.xml"
    written.write_text(stored.read_text().replace(DOMAIN, domain))
    return written
