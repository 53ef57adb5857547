"""The `chordial` command: its verbs, and what they share.

Nothing is imported here but what is: Ctrl-C while the verbs are loaded ends without a traceback.
"""

INTERRUPTED = 130
"""The exit code of what Ctrl-C ended, as shells have it."""


def main() -> int:
    """Run one verb and return its exit code."""
    try:
        from chordial_node.cli.command import run

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
