"""Makes docs/reference/conformance.md from the conformance tests: `make docs` writes it.

A test in a `test_rfcNNNN_*.py` file whose docstring begins with a section is a line of the page.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "conformance.md"
NOTES = ROOT / "docs" / "reference" / "deviations.md"
RULE = re.compile(r"^RFC (\d+),? (?:§+|Section |section )?([\w.,-]*):?\s*(.*)", re.DOTALL)
HEAD = """\
# Conformance

What the RFCs ask and a test of ours holds, section by section. This page is made from the tests
(`make docs`); what we do otherwise, leave out, and why stands in [deviations](deviations.md).
"""

Line = tuple[int, str, str, str]
"""RFC, section, what the test's name says, where the test is."""


def lines() -> list[Line]:
    """Return a line for each conformance test, in the order of RFCs and sections."""
    found = [line for path in sorted(ROOT.glob("tests/**/test_*.py")) for line in _of(path)]
    return sorted(found, key=lambda line: (line[0], _numbers(line[1]), line[2]))


def page() -> str:
    """Return the text of the page."""
    parts = [HEAD]
    rfc = 0
    for number, section, rule, place in lines():
        if number != rfc:
            rfc = number
            parts.append(f"\n## RFC {rfc}\n\n| § | what holds | test |\n|---|---|---|\n")
        parts.append(f"| {section or '-'} | {rule} | `{place}` |\n")
    return "".join(parts)


def _of(path: Path) -> list[Line]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            rule = RULE.match(ast.get_docstring(node) or "")
            if rule:
                place = path.relative_to(ROOT / "tests").as_posix()
                name = node.name.removeprefix("test_").replace("_", " ")
                found.append((int(rule[1]), rule[2].rstrip(".,:"), name, place))
    return found


def _numbers(section: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", section)]


if __name__ == "__main__":
    PAGE.write_text(page())
