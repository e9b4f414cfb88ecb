"""What `describe` prints about labels: how many, which rows have several, classes, scales of numbers."""

import math
from collections.abc import Iterable, Sequence

from torch import Tensor

from polytask.cli.named import named_table
from polytask.cli.text import NOTHING, counted, say, wrapped
from polytask.data.bookkeeping import Balance, Bookkeeping
from polytask.data.leakage import share
from polytask.tasks import Task

LISTED = 20
"""Tasks that are shown one by one."""
PAIRED = 8
"""Tasks whose pairs are shown one by one."""
CLASSES, LARGEST, SMALLEST = 8, 3, 2
"""Classes that are all shown; of more, so many of the largest and of the smallest in the training rows."""

KIND, IN = "kind", "in"

Row = tuple[str, ...]


def counts(book: Bookkeeping) -> None:
    """Rows with a label, of every task and split."""
    splits = list(book.splits)
    rows: list[Row] = [("(rows)", "", *(f"{book.rows[split]:,}       " for split in splits))]
    for task in book.tasks[:LISTED]:
        aside = " (auxiliary)" if task.auxiliary else ""
        found = book.labelled[task.name]
        cells = (f"{found[split]:,} {share(found[split], book.rows[split]):>7}" for split in splits)
        rows.append((task.name + aside, type(task).__name__, *cells))
    named_table(("rows with a label", KIND, *splits), rows, words=[KIND])
    _others(book.tasks, [f"{_range(book.labelled[task.name][splits[0]] for task in book.tasks[LISTED:])} train labels"])
    for task in book.tasks[:LISTED]:
        _filled(book, task)
    _members(book)


def details(book: Bookkeeping) -> None:
    """Overlap of tasks, classes and scales."""
    _overlap(book)
    _balance(book)
    _scales(book)


def _filled(book: Bookkeeping, task: Task) -> None:
    """How many pixels, or columns, have labels where that isn't all of them in the rows that have any."""
    found = book.filled[task.name]
    if any(book.labelled[task.name][split] / book.rows[split] > each + 1e-9 for split, each in found.items()):
        told = ", ".join(f"{100 * each:.1f} % in {split}" for split, each in found.items())
        wrapped(f"{task.name}: of all labels that these rows could have, there are {told}", 0)
        say()


def _members(book: Bookkeeping) -> None:
    for task in book.tasks:
        if task.member_names:
            found = ", ".join(f"{_range(each.tolist())} in {split}" for split, each in book.members[task.name].items())
            wrapped(f"{task.name} stands for {counted(len(task.member_names), 'task')}; labels of each: {found}", 0)
            say()


def _overlap(book: Bookkeeping) -> None:
    """Training rows with labels of both tasks, of every pair."""
    if len(book.tasks) < 2:
        return
    both = book.overlap("train")
    if int(both.min()) == book.rows["train"]:
        say("Every training row has a label of every task.")
        say()
    elif len(book.tasks) <= PAIRED:
        numbers = [str(k + 1) for k in range(len(book.tasks))]
        rows = [
            (f"{k} {task.name}", *(f"{each:,}" for each in line))
            for k, task, line in zip(numbers, book.tasks, both.tolist(), strict=True)
        ]
        named_table(("training rows with labels of both", *numbers), rows)
    else:
        _pairs(book.tasks, both)
    if without := book.unlabelled("train"):
        say(f"{without:,} of {book.rows['train']:,} training rows have no label of any task.")
        say()


def _pairs(tasks: Sequence[Task], both: Tensor) -> None:
    pairs = [(int(both[i, j]), tasks[i].name, tasks[j].name) for i in range(len(tasks)) for j in range(i)]
    least, most = min(pairs), max(pairs)
    none = sum(not count for count, _, _ in pairs)
    if not most[0]:
        say("No training row has labels of two tasks.")
        say()
        return
    wrapped(
        f"Training rows with labels of both of two tasks: from {least[0]:,} ({least[1]}, {least[2]}) to {most[0]:,} "
        f"({most[1]}, {most[2]}); {none:,} of {len(pairs):,} pairs have none.",
        0,
    )
    say()


def _balance(book: Bookkeeping) -> None:
    """Shares of the classes, of every task and split."""
    asked = [task for task in book.tasks if task.class_names]
    splits = list(book.splits)
    rows: list[Row] = []
    for task in asked[:LISTED]:
        found = [book.balance[task.name][split] for split in splits]
        if len(task.class_names) == 2 and task.exclusive:
            rows.append((f"{task.name}: {task.class_names[1]}", *_cells(found, 1)))
            continue
        rows.append((task.name, *("" for _ in splits)))
        rows += [(f"  {name}", *cells) for name, cells in _classes(task, found)]
    if rows:
        named_table(("share of labels", *splits), rows)
        _others(asked, [])
    for task in asked[:LISTED]:
        _absent(task, book)


def _classes(task: Task, found: Sequence[Balance]) -> Iterable[tuple[str, Row]]:
    names = task.class_names
    if len(names) <= CLASSES:
        for k, name in enumerate(names):
            yield name, _cells(found, k)
        return
    order = found[0].counts.argsort(descending=True, stable=True).tolist()
    between = order[LARGEST:-SMALLEST]
    for k in order[:LARGEST]:
        yield names[k], _cells(found, k)
    ranges = [balance.shares[between].mul(100).tolist() for balance in found]
    yield f"… {len(between)} others, each", tuple(f"{min(each):.1f} to {max(each):.1f} %" for each in ranges)
    for k in order[-SMALLEST:]:
        yield names[k], _cells(found, k)


def _cells(found: Sequence[Balance], k: int) -> Row:
    return tuple(share(int(each.counts[k]), int(each.of[k])) if int(each.of[k]) else NOTHING for each in found)


def _absent(task: Task, book: Bookkeeping) -> None:
    """Classes without a label."""
    for split, found in book.balance[task.name].items():
        absent = [task.class_names[k] for k in (found.counts == 0).nonzero()[:, 0].tolist()]
        if absent:
            more = f" and {len(absent) - LISTED} more" if len(absent) > LISTED else ""
            wrapped(f"{task.name}: no {split} label of {', '.join(absent[:LISTED])}{more}", 0)


def _scales(book: Bookkeeping) -> None:
    """Mean, deviation and range of numbers, of every task and split."""
    asked = [task for task in book.tasks if not task.class_names]
    rows: list[Row] = []
    for task in asked[:LISTED]:
        name = f"{task.name}, {task.label_unit}" if task.label_unit else task.name
        for split, scale in book.scales[task.name].items():
            found = (scale.mean, scale.deviation, scale.low, scale.high)
            rows.append((name, split, *(_short(each) for each in found)))
            name = ""
    if rows:
        named_table(("numbers, unit", IN, "mean", "deviation", "lowest", "highest"), rows, words=[IN])
        _others(asked, [])


def _short(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else NOTHING


def _range(values: Iterable[int]) -> str:
    listed = list(values)
    return f"{min(listed):,} to {max(listed):,}" if listed else NOTHING


def _others(tasks: Sequence[Task], told: Sequence[str]) -> None:
    """How many tasks are not shown."""
    if len(tasks) > LISTED:
        say(f"… and {counted(len(tasks) - LISTED, 'more task')}{''.join(f', {each}' for each in told)}")
        say()
