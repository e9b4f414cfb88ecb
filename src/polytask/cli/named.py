"""Tables whose names are never broken."""

from collections.abc import Collection, Sequence

from rich.cells import cell_len
from rich.measure import Measurement
from rich.table import Table

from polytask.cli.text import console, grid, say, show, wrapped

NARROW = 16
"""A column of sentences is at least as wide."""
Rows = Sequence[Sequence[str]]


def named_table(head: Sequence[str], rows: Rows, words: Collection[str] = (), sentences: Collection[str] = ()) -> None:
    """A table with whole names, as wide as the terminal.

    Names that are too long for it become numbers, explained below; where even so it is too wide, each row is a sentence
    below its name.

    Args:
        head: of the columns; the first holds the names.
        rows: their cells; a row without a name goes on with the one before.
        words: columns that hold words rather than numbers.
        sentences: columns that may be broken between words.
    """
    width = console().width
    needed = _needed(_filled(head, rows, words, sentences))
    room = width - needed + max(cell_len(name) for name in (head[0], *(row[0] for row in rows)))
    long = list(dict.fromkeys(row[0] for row in rows if cell_len(row[0]) > room))
    marks = {name: f"{' ' * (len(name) - len(name.lstrip()))}({k})" for k, name in enumerate(long, 1)}
    table = _filled(head, [(marks.get(row[0], row[0]), *row[1:]) for row in rows], words, sentences)
    if _needed(table) > width:
        _as_sentences(head, rows)
        return
    show(table)
    for name, mark in marks.items():
        wrapped(f"{mark.strip()} {name.strip()}", 0)
    if marks:
        say()


def _as_sentences(head: Sequence[str], rows: Rows) -> None:
    say(head[0], "bold")
    for name, *cells in rows:
        if name:
            say(name)
        told = [f"{key} {' '.join(cell.split())}" for key, cell in zip(head[1:], cells, strict=True) if cell]
        if told:
            wrapped("; ".join(told), 2)
    say()


def _needed(table: Table) -> int:
    """How wide a terminal it needs."""
    target = console()
    return Measurement.get(target, target.options.update(max_width=10_000), table).minimum


def _filled(head: Sequence[str], rows: Rows, words: Collection[str], sentences: Collection[str]) -> Table:
    table = grid(*head)
    for k, (column, name) in enumerate(zip(table.columns, head, strict=True)):
        if name in words or name in sentences:
            column.justify = "left"
        column.no_wrap = name not in sentences
        column.min_width = NARROW if name in sentences else max(cell_len(row[k]) for row in (head, *rows))
    for row in rows:
        table.add_row(*row)
    return table
