"""House rules that no linter knows, read from the source (CONTRIBUTING.md says why they exist)."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OUR_FOLDERS = ("node", "operator", "tests")
MOST_LINES_OF_A_FILE = 500
MOST_LINES_OF_A_FUNCTION = 70
EDGE = {
    "__main__", "cli", "pod", "node", "sip_edge", "upkeep", "adapters", "driver", "simulation",
    "client", "wire",
}  # fmt: skip
PRINTS = {"node/chordial_node/cli", "node/chordial_node/__main__.py"}
ANY_IS_RIGHT = {
    "node/chordial_node/kernel/procedures.py",  # awaits Replies of every type
    "operator/chordial_operator/spec/manifest.py",  # the one alias for foreign JSON
}
FORBIDDEN_FILES = {"utils.py", "util.py", "base.py", "helpers.py", "common.py", "misc.py"}
FORBIDDEN_CLASSES = re.compile(r"Manager|Helper|Handler")
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def sources() -> list[Path]:
    """Every Python file that a person wrote."""
    return sorted(
        path
        for folder in OUR_FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if "_pb2" not in path.name
    )


def product_sources() -> list[Path]:
    """Every Python file that is shipped."""
    return [path for path in sources() if relative(path).split("/")[0] != "tests"]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_stay_short() -> None:
    lengths = {relative(path): len(path.read_text().splitlines()) for path in sources()}
    assert not {name: n for name, n in lengths.items() if n > MOST_LINES_OF_A_FILE}


def test_functions_stay_short() -> None:
    lengths = {
        f"{relative(path)}:{function.lineno} {function.name}": function.end_lineno
        - function.lineno
        + 1
        for path in sources()
        for function in functions(path)
        if function.end_lineno is not None
    }
    assert not {name: n for name, n in lengths.items() if n > MOST_LINES_OF_A_FUNCTION}


def test_every_module_says_why_it_exists() -> None:
    assert not [relative(path) for path in sources() if not ast.get_docstring(parsed(path))]


def test_every_public_function_and_class_of_the_product_is_told_in_a_sentence() -> None:
    silent = [
        f"{relative(path)}:{node.lineno} {node.name}"
        for path in product_sources()
        for node in parsed(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not silent


@pytest.mark.parametrize("folder", ["node", "operator"])
def test_the_folders_that_hold_packages_are_no_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_no_folder_of_tests_is_a_package() -> None:
    assert not [relative(path) for path in (ROOT / "tests").rglob("__init__.py")]


def test_every_folder_of_a_package_is_a_package() -> None:
    folders = {path.parent for path in product_sources()}
    assert not [relative(f) for f in sorted(folders) if not (f / "__init__.py").exists()]


def test_only_the_command_prints() -> None:
    printing = [
        f"{relative(path)}:{node.lineno}"
        for path in product_sources()
        if not any(relative(path).startswith(prefix) for prefix in PRINTS)
        and path.name != "__main__.py"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not printing


def test_nothing_is_left_for_later() -> None:
    assert not [
        f"{relative(path)}:{number}"
        for path in sources()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNFINISHED.search(line)
    ]


def test_no_file_is_a_drawer() -> None:
    assert not [relative(path) for path in sources() if path.name in FORBIDDEN_FILES]


def test_no_class_is_named_for_a_vague_role() -> None:
    assert not [
        f"{relative(path)}:{node.lineno} {node.name}"
        for path in sources()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef) and FORBIDDEN_CLASSES.search(node.name)
    ]


def test_the_product_names_its_types() -> None:
    """`Any` switches the type checker off; `object` and protocols say the same honestly."""
    assert not [
        f"{relative(path)}:{node.lineno}"
        for path in product_sources()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom)
        and node.module == "typing"
        and relative(path) not in ANY_IS_RIGHT
        and any(alias.name == "Any" for alias in node.names)
    ]


def test_the_core_iterates_no_set() -> None:
    """Sets have no order that two runs share; sort them, or keep a dict."""
    core = [
        p for p in product_sources() if relative(p).split("/")[2].removesuffix(".py") not in EDGE
    ]
    assert not [
        f"{relative(path)}:{loop.iter.lineno}"
        for path in core
        for loop in ast.walk(parsed(path))
        if isinstance(loop, ast.For | ast.comprehension) and _makes_a_set(loop.iter)
    ]


def _makes_a_set(expression: ast.expr) -> bool:
    if isinstance(expression, ast.Set | ast.SetComp):
        return True
    return (
        isinstance(expression, ast.Call)
        and isinstance(expression.func, ast.Name)
        and expression.func.id in {"set", "frozenset"}
    )


def test_the_lock_holds_names_versions_and_hashes_alone() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    entries = re.split(r"(?<!\\)\n", lock.strip())
    strange = [
        entry.splitlines()[0]
        for entry in entries
        if not re.match(r"[a-z0-9-]+==\S+ (; [^\\]+)?\\\n", entry) or "--hash=sha256:" not in entry
    ]
    assert not strange


def present_modules() -> set[str]:
    """The modules and packages that stand directly in the node's package."""
    package = ROOT / "node" / "chordial_node"
    names = {path.parent.name for path in package.glob("*/__init__.py")}
    return names | {path.stem for path in package.glob("*.py") if path.stem != "__init__"}


def contract(name: str) -> dict[str, list[str]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    found: dict[str, list[str]] = next(each for each in contracts if each["name"] == name)
    return found


def test_the_contracts_cover_every_module_of_the_core() -> None:
    """A part of the core that comes later is forbidden the same I/O as those that were first."""
    core = {f"chordial_node.{name}" for name in present_modules() - EDGE}
    assert set(contract("The core is sans-I/O")["source_modules"]) == core
    assert set(contract("Only security computes with keys")["source_modules"]) == (
        core - {"chordial_node.security"}
    )


def test_the_contracts_keep_adapters_and_client_from_all_but_the_boundary() -> None:
    rule = contract("An adapter sees the boundary, not the core")
    hidden = {"core", "usage", "overlay", "sip", "kernel", "driver", "simulation"}
    from_whom = {"adapters", "client"}
    here = present_modules()
    assert set(rule["source_modules"]) == {f"chordial_node.{name}" for name in from_whom & here}
    assert set(rule["forbidden_modules"]) == {f"chordial_node.{name}" for name in hidden & here}


def test_the_version_is_told_once() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    package = (ROOT / "node" / "chordial_node" / "__init__.py").read_text()
    assert f'__version__ = "{settings["project"]["version"]}"' in package
