"""The operator's process: `python -m chordial_operator`, in a pod as the chart runs it.

Flags and environment are read here; everything else is `runtime`'s.
"""

import asyncio
import os
import signal
import sys

from chordial_operator.lease import LeaseLostError
from chordial_operator.logs import set_up_logs
from chordial_operator.runtime import Operator, open_cluster
from chordial_operator.settings import Settings, SettingsError, read_settings


def main() -> None:
    """Run the operator until it is told to stop, or loses its lease."""
    try:
        settings = read_settings(sys.argv[1:], os.environ)
    except SettingsError as error:
        print(f"chordial-operator: {error}", file=sys.stderr)
        sys.exit(2)
    if settings.kubeconfig:
        os.environ["KUBECONFIG"] = settings.kubeconfig  # the watches' client reads it there
    set_up_logs(settings.log_level)
    sys.exit(asyncio.run(_run(settings)))


async def _run(settings: Settings) -> int:
    client, cluster = await open_cluster(settings)
    loop = asyncio.get_running_loop()

    def take_signals() -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, running.cancel)

    operator = Operator(settings, cluster, take_signals)
    running = asyncio.create_task(operator.run(), name="operator")
    take_signals()
    try:
        await running
    except asyncio.CancelledError:
        return 0
    except LeaseLostError as error:
        print(f"chordial-operator: {error}", file=sys.stderr)
        return 1
    finally:
        await client.close()
    return 0


if __name__ == "__main__":
    main()
