"""`chordial bench`: what it measures is plausible, and it leaves nothing behind."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.integration.rig import COMMAND, Json
from tests.programs import ProgramFinder

KEYS = {
    "what", "peers", "in_flight", "ops", "failed", "seconds", "ops_per_second", "p50_ms", "p99_ms",
    "cpu_us_per_op",
}  # fmt: skip
pytestmark = pytest.mark.slow


def bench(*arguments: str) -> Json:
    """Run a short measurement and return its object."""
    done = subprocess.run(
        [COMMAND, "bench", *arguments, "--seconds", "1", "--rounds", "1", "--json"],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout} {done.stderr}"
    answer: Json = json.loads(done.stdout)
    return answer


def left_behind() -> list[str]:
    """Command lines of peers that a measurement has started and not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "chordial-bench-" in words:
            found.append(words)
    return found


def test_a_lookup_is_measured_with_the_keys_that_the_documents_name() -> None:
    others = left_behind()
    result = bench("lookup", "--peers", "4", "--in-flight", "8")
    assert result.keys() >= KEYS
    assert (result["what"], result["peers"], result["in_flight"]) == ("lookup", 4, 8)
    assert result["failed"] == 0
    numbers = {key: float(str(result[key])) for key in KEYS - {"what"}}
    assert numbers["ops"] > 10
    assert numbers["ops"] == pytest.approx(numbers["ops_per_second"] * numbers["seconds"], rel=0.01)
    assert 0 < numbers["p50_ms"] <= numbers["p99_ms"]
    assert 0 < numbers["cpu_us_per_op"] < 1e5
    assert [each for each in left_behind() if each not in others] == []


@pytest.mark.foreign
def test_calls_are_measured_beside_kamailio(require_program: ProgramFinder) -> None:
    require_program("sipp", "sip-tester")
    require_program("kamailio", "kamailio")
    result = bench("call", "--against", "kamailio", "--in-flight", "4", "--peers", "3")
    assert result["failed"] == 0
    against, ratio = result["against"], result["ratio"]
    assert isinstance(against, dict)
    assert isinstance(ratio, dict)
    assert against["system"] == "kamailio"
    assert int(str(result["ops"])) > 10
    assert int(against["ops"]) > 10
    assert float(ratio["cpu"]) > 0


def test_what_does_not_go_together_is_said() -> None:
    done = subprocess.run(
        [COMMAND, "bench", "call", "--against", "opendht"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "call is measured against kamailio" in done.stderr
