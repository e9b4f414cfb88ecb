"""Words, numbers and tables for a terminal or a pipe: at most as wide as it is, colours on a terminal only."""

import math
import sys
import textwrap
from urllib.parse import quote

from rich import box
from rich.console import Console
from rich.table import Table

from polytask.evaluation import Interval

NOTHING = "–"


def console() -> Console:
    """Where things are printed; names are never taken for markup."""
    return Console(file=sys.stdout, markup=False, highlight=False, emoji=False)


def say(text: str = "", style: str | None = None) -> None:
    """A paragraph."""
    _write(text, style)


def _write(shown: str | Table, style: str | None = None) -> None:
    """Print without blanks at the ends of lines."""
    target = console()
    with target.capture() as captured:
        target.print(shown, style=style)
    print("\n".join(line.rstrip() for line in captured.get().split("\n")), end="", flush=True)


def number(value: float | None, digits: int = 4) -> str:
    """A number with some significant digits; 0.05 and 0 as people write them.

    >>> number(0.83127), number(None), number(12345.6)
    ('0.8313', '–', '12346')
    >>> number(0.05), number(0.0), number(0.831), number(1.0)
    ('0.05', '0', '0.8310', '1')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    whole = f"{value:.{digits}g}"
    if float(whole) == float(f"{value:.{max(digits - 2, 1)}g}"):
        return f"{float(whole):g}"
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:#.{digits}g}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that suits them.

    >>> duration(0.0042), duration(3), duration(80), duration(7320)
    ('4.2 ms', '3.0 s', '1 min 20 s', '2 h 2 min')
    """
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def spread(found: Interval | None, sign: bool = False) -> str:
    """A mean and half the width of its interval, both to two digits of the latter.

    >>> spread(Interval(0.8312, 0.8190, 0.8434, 3)), spread(Interval(1.5, None, None, 1), sign=True)
    ('0.831 ± 0.012', '+1.5')
    """
    if found is None or not math.isfinite(found.mean):
        return NOTHING
    plus = "+" if sign else ""
    if found.low is None or found.high is None:
        return f"{found.mean:{plus}.1f}" if sign else number(found.mean)
    half = (found.high - found.low) / 2
    digits = min(max(1 - math.floor(math.log10(half)), 0), 5) if half > 0 else 4
    digits = min(digits, 1) if sign else digits
    return f"{found.mean:{plus}.{digits}f} ± {half:.{digits}f}"


def grid(*columns: str, first: int | None = None) -> Table:
    """A table of which the first column is words and the others are numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for position, name in enumerate(columns):
        table.add_column(name, justify="right" if position else "left", overflow="fold", no_wrap=False, min_width=4)
    return table


def wrapped(text: str, indent: int) -> None:
    shown = " ".join(text.split())
    print(
        textwrap.fill(
            shown, min(console().width, 110), initial_indent=" " * indent, subsequent_indent=" " * (indent + 2)
        )
    )


def show(table: Table) -> None:
    _write(table)
    say()


def counted(count: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "seed"), counted(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{count} {what}{'s' if count != 1 else ''}"


def amount(count: int) -> str:
    """A large number, short.

    >>> amount(950), amount(24708), amount(11_200_000)
    ('950', '24.7k', '11.2M')
    """
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def file_name(task: str) -> str:
    """The name of a task as a file or folder can have it; different names stay different.

    >>> file_name("left hand"), file_name("in/out")
    ('left hand', 'in%2Fout')
    """
    return quote(task, safe=" ,;+-_=()[]{}&")
