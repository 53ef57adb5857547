"""Tables of the structs that a source file defines: what the reference pages are made of.

Read from the source, because a field's docstring is nowhere else. Nothing here knows a page.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import msgspec


class Field(msgspec.Struct, frozen=True):
    """A field of a struct."""

    name: str
    type: str
    default: str
    meaning: str


class Definition(msgspec.Struct, frozen=True):
    """A class as its source has it."""

    name: str
    bases: tuple[str, ...]
    meaning: str
    fields: tuple[Field, ...]
    code: int | None
    """The value of its CODE."""


def definitions(path: Path) -> list[Definition]:
    """Return the classes of a source file, in its order."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    constants: dict[str, object] = {
        node.targets[0].id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    return [_definition(node, constants) for node in module.body if isinstance(node, ast.ClassDef)]


def table(fields: tuple[Field, ...], *, with_defaults: bool) -> str:
    """Return the fields as a table."""
    default = " default |" if with_defaults else ""
    lines = [f"| field | type |{default} meaning |", f"|---|---|{'---|' if default else ''}---|"]
    for field in fields:
        shown = f" {_code(field.default) if field.default else 'required'} |" if default else ""
        lines.append(f"| `{field.name}` | {_code(field.type)} |{shown} {field.meaning} |")
    return "\n".join(lines) + "\n"


def one_line(text: str | None) -> str:
    """Return a docstring as the cell of a table."""
    return " ".join((text or "").split()).replace("|", "\\|")


def _definition(node: ast.ClassDef, constants: dict[str, object]) -> Definition:
    code = None
    fields = []
    for statement, after in _pairs(node.body):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if statement.target.id == "CODE":
            code = _number(statement.value, constants)
            continue
        told = _text(after)
        fields.append(
            Field(
                statement.target.id,
                ast.unparse(statement.annotation),
                "" if statement.value is None else ast.unparse(statement.value),
                one_line(told),
            )
        )
    bases = tuple(ast.unparse(base).rpartition(".")[2] for base in node.bases)
    return Definition(node.name, bases, ast.get_docstring(node) or "", tuple(fields), code)


def _pairs(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.stmt | None]]:
    yield from zip(body, [*body[1:], None], strict=True)


def _text(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return str(node.value.value)
    return ""


def _number(value: ast.expr | None, constants: dict[str, object]) -> int | None:
    found = constants.get(value.id) if isinstance(value, ast.Name) else None
    if isinstance(value, ast.Constant):
        found = value.value
    return found if isinstance(found, int) else None


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")
