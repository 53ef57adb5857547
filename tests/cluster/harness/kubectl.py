"""kubectl as a test calls it: one kubeconfig, text or JSON back, errors that show what it said."""

import json
import subprocess
import time
from pathlib import Path

from tests.cluster.harness.parts import program

Json = dict[str, object]


class KubectlError(Exception):
    """kubectl said no; the message is what it said."""


class Kubectl:
    """kubectl with one kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def __call__(self, *arguments: str, text: str | None = None, timeout: float = 60.0) -> str:
        """Run kubectl and return what it wrote; KubectlError with its complaint."""
        try:
            done = subprocess.run(
                [program("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments],
                capture_output=True, text=True, input=text, timeout=timeout, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise KubectlError(
                f"kubectl {' '.join(arguments)}: no answer in {timeout:g} s"
            ) from error
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def json(self, *arguments: str) -> Json:
        """Run kubectl with `-o json` and return the object."""
        answer: Json = json.loads(self(*arguments, "-o", "json"))
        return answer

    def apply(self, *objects: Json) -> str:
        """Apply objects from the server's side."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        return self("apply", "--server-side", "--force-conflicts", "-f", "-", text=text)

    def wait(self, *arguments: str, seconds: float = 60.0) -> str:
        """`kubectl wait`, which also waits for the object to be there."""
        limit = time.monotonic() + seconds
        while True:
            left = max(1.0, limit - time.monotonic())
            try:
                return self("wait", f"--timeout={left:.0f}s", *arguments, timeout=left + 10)
            except KubectlError as error:
                if "not found" not in str(error) and "no matching" not in str(error):
                    raise
                if time.monotonic() > limit:
                    raise
                time.sleep(0.2)
