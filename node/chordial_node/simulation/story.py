"""The result of a run, told to a person."""

from chordial_node.simulation.run import SimulationResult


def story(result: SimulationResult, cpu_seconds: float) -> str:
    """Return the lines of a result, the violations among them, and what it took of a core."""
    lines = [
        f"scenario {result.scenario}, seed {result.seed}, {result.peers} peers, "
        f"{result.minutes:g} minutes",
        f"lookups  {result.lookups}, {result.lookup_failures} failed, "
        f"mean {result.mean_hops:.3f} hops, 99 % within {result.p99_hops}",
        f"puts     {result.puts}, {result.puts_acknowledged} acknowledged; "
        f"gets {result.gets}, {result.gets_answered} answered",
        f"phones   {result.registers} registers, {result.register_failures} failed; "
        f"{result.calls} calls and messages, {result.call_failures} failed",
        f"turns    {result.turns:,}; {result.frames:,} frames, {result.bytes / 1e6:.1f} MB",
        f"cpu      {cpu_seconds:.1f} s of one core",
    ]
    lines += [
        f"skipped  {each.invariant} {each.times} times: {each.why}" for each in result.skipped
    ]
    lines += [
        f"VIOLATED {each.invariant} at {each.at:.3f} s: {each.what}" for each in result.violations
    ]
    if result.is_good:
        lines.append(f"good     {sum(result.checked.values())} checks, every invariant held")
    lines.append(f"digest   {result.digest}")
    return "\n".join(lines)
