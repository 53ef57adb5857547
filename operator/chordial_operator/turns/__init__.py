"""One level-triggered turn for each kind: parse, decide, build, apply, report."""
