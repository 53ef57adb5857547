"""The harness as a command: `python -m tests.cluster.harness parts`."""

import argparse
import sys
import time
from collections.abc import Sequence

from tests.cluster.harness import parts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.harness")
    parser.add_argument("verb", choices=("parts",))
    parser.parse_args(arguments)
    began = time.monotonic()
    try:
        parts.build(lambda line: print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True))
    except parts.PartsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
