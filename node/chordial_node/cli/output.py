"""What a person sees: tables, the ring, the way of a lookup; colours only on a terminal.

With `--json` nothing but one object is printed. Only this module prints.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

Value: TypeAlias = "str | int | float | bool | Sequence[Value] | Mapping[str, Value] | None"

STATE_STYLES = {"ready": "green", "alive": "green", "joined": "green", "dead": "red", "down": "red"}
"""What is none of these is on its way, and yellow."""
GONE = ("down", "dead", "left")
"""Drawn hollow, so that nobody needs the colour."""
FILE_WIDTH = 200
"""Columns where the output is no terminal: nothing is cut off then."""
RING_WIDTH, RING_HEIGHT = 46, 15


class Output:
    """Standard output for one verb."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._console = Console(highlight=False)
        if not self._console.is_terminal:  # elsewhere lines are cut by whoever reads them
            self._console.width = FILE_WIDTH
            self._console.soft_wrap = True
        self._errors = Console(stderr=True, highlight=False)
        self._errors.soft_wrap = not self._errors.is_terminal
        self._drawn = 0

    @property
    def height(self) -> int:
        """Lines of the terminal."""
        return self._console.height

    def result(self, value: Mapping[str, Value]) -> None:
        """Print the one JSON object, where it is wanted."""
        if self.as_json:
            self._console.file.write(msgspec.json.encode(value).decode() + "\n")
            self._console.file.flush()

    def say(self, text: str, style: str = "") -> None:
        """Print a line for people."""
        if not self.as_json:
            self._console.print(escape(text), style=style or None)

    def head(self, text: str) -> None:
        """Print a line that stands out."""
        self.say(text, "bold")

    def done(self, text: str) -> None:
        """Print a line about something that worked."""
        self._marked("[green]✓[/]", text)

    def missed(self, text: str) -> None:
        """Print a line about something that did not work."""
        self._marked("[red]✗[/]", text)

    def _marked(self, mark: str, text: str) -> None:
        if not self.as_json:
            self._console.print(f"{mark} {escape(text)}")

    def warn(self, text: str) -> None:
        """Print a line that is no failure, but to be known; it does not disturb the JSON."""
        self._errors.print(f"[yellow]note:[/] {escape(text)}")

    def failed(self, text: str) -> None:
        """Print why the verb failed."""
        if self.as_json:
            self.result({"error": text})
        self._errors.print(f"[red]chordial:[/] {escape(text)}")

    def progress(self, text: str) -> Status:
        """Show that something takes a while: turning on a terminal, elsewhere as a line."""
        if self._errors.is_terminal and not self.as_json:
            return self._errors.status(escape(text), spinner="dots")
        if not self.as_json:
            self._errors.print(escape(text))
        return Console(quiet=True, stderr=True).status("")

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[str]], spare: Sequence[str] = ()
    ) -> None:
        """Print a table without its spare columns, one by one, as long as it is too wide.

        A cell that names a state gets its colour.
        """
        if self.as_json:
            return
        held = fitting(columns, list(rows), spare, self._console.width)
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column, *_ in held:
            table.add_column(column, no_wrap=True)
        for row in list(zip(*held, strict=True))[1:]:
            table.add_row(*(_styled(cell) for cell in row))
        self._console.print(table)

    def redraw(self, draw: Callable[[], None]) -> None:
        """Print what `draw` prints in the place of what it printed before, on a terminal."""
        if self.as_json or not self._console.is_terminal:
            draw()
            return
        with self._console.capture() as captured:
            draw()
        lines = captured.get().splitlines()[: self.height - 1]
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        self._console.file.write(up + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        self._console.file.flush()
        self._drawn = len(lines)

    def ring(self, peers: Sequence[tuple[str, str, str]]) -> None:
        """Draw the ring clockwise from the top: (name, Node-ID in hexadecimal, state)."""
        if not self.as_json:
            for line in draw_ring(peers):
                self._console.print(line)


def fitting(
    columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], width: int
) -> list[tuple[str, ...]]:
    """Return the columns, heads first, without as many of the spare ones as it takes to fit."""
    held = list(zip(columns, *rows, strict=True))
    for name in spare:
        if sum(max(map(len, column)) + 2 for column in held) - 2 <= width:
            break
        held = [column for column in held if column[0] != name]
    return held


def draw_ring(peers: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return the lines of a ring with each peer at the place of its Node-ID."""
    grid = [[" "] * RING_WIDTH for _ in range(RING_HEIGHT)]
    for step in range(120):
        column, row = _place(step / 120)
        grid[row][column] = "·"
    labels: dict[int, list[tuple[int, int, str]]] = {}
    for name, node, state in peers:
        column, row = _place(int(node[:8] or "0", 16) / 2**32)
        mark = "○" if state in GONE else "●"
        text = f"{mark} {name}"
        start = column if column * 2 >= RING_WIDTH - 2 else column - len(text) + 1
        text = text if start == column else f"{name} {mark}"
        start = max(0, min(RING_WIDTH - len(text), start))
        labels.setdefault(row, []).append((start, len(text), _painted(text, state)))
    return [_line(grid[row], labels.get(row, [])) for row in range(RING_HEIGHT)]


def _place(part: float) -> tuple[int, int]:
    angle = 2 * math.pi * part
    column = RING_WIDTH / 2 + (RING_WIDTH / 2 - 10) * math.sin(angle)
    row = (RING_HEIGHT - 1) / 2 * (1 - math.cos(angle))
    return round(column), round(row)


def _line(cells: list[str], labels: list[tuple[int, int, str]]) -> str:
    line, column = "", 0
    for start, length, text in sorted(labels):
        if start < column:
            line += "  " + text  # two peers at one place: the later one beside it
            continue
        line += "[dim]" + "".join(cells[column:start]) + "[/]" + text
        column = start + length
    return line + "[dim]" + "".join(cells[column:]) + "[/]"


def _painted(text: str, state: str) -> str:
    style = STATE_STYLES.get(state, "yellow")
    return f"[{style}]{escape(text)}[/]"


def _styled(cell: str) -> str:
    style = STATE_STYLES.get(cell)
    return f"[{style}]{escape(cell)}[/]" if style else escape(cell)
