"""Programs that are not ours: found, or the test that needs one says how to install it.

On a machine that promises all of them (`CHORDIAL_REQUIRE_ALL=1`, as `.ci/run` does) a missing
program is a failure, so that no test can be left out unseen.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

ADMIN_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # Debian's users do not search them


class ProgramFinder:
    """Finds foreign programs; a missing one skips the test, or fails it where all must run."""

    def __init__(self, *, everything_required: bool) -> None:
        self._everything_required = everything_required

    def __call__(self, name: str, package: str) -> Path:
        """The path of a program, else the test ends with the line that installs it."""
        search = os.pathsep.join([os.environ.get("PATH", os.defpath), *ADMIN_FOLDERS])
        found = shutil.which(name, path=search)
        if found is None:
            self._missing(name, package)
        return Path(found)

    def python_module(self, module: str, package: str, python: str = "/usr/bin/python3") -> Path:
        """The system's Python if it can import a module that only a Debian package brings."""
        interpreter = Path(python)
        if (
            not interpreter.exists()
            or subprocess.run(
                [python, "-c", f"import {module}"], capture_output=True, check=False
            ).returncode
        ):
            self._missing(f"{module} for {python}", package)
        return interpreter

    def _missing(self, name: str, package: str) -> NoReturn:
        reason = f"{name} is not here; install it with: apt-get install {package}"
        if self._everything_required:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
