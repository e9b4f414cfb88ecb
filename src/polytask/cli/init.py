"""The YAML file about a table, with what was guessed and why."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import yaml

from polytask.data.tables import CATEGORY, NUMBER, TableSchema, Target, infer
from polytask.data.tables.schema import Column
from polytask.data.tables.splitting import SPLIT_WORDS
from polytask.errors import PolytaskError

TARGET_NAMES = ("target", "targets", "label", "labels", "class", "outcome", "response", "y")
"""Columns of these names are taken for targets, and those that begin or end so (target_price, is_label)."""
CODES = 10
"""Whole numbers with at most so many different values may be codes."""


def described(frame: pl.DataFrame, table: str, targets: Sequence[str], split: str | None = None) -> str:
    """The text of the YAML file about a table.

    Args:
        frame: the table.
        table: what the file shall call it.
        targets: as in `Target.parse`; guessed where empty.
        split: a column that is made of the names of the table's files, and needs no word.

    Raises:
        PolytaskError: there is no such target, or no column that could be one.
    """
    _, schema = infer(frame)
    by_name = {column.name: column for column in schema.columns}
    split_column = split or _split_column(frame, schema)
    aside = {split_column} if split_column else set()
    wanted = [Target.parse(text, frame.columns) for text in targets]
    why = ""
    if not wanted:
        names, why = _guessed_targets([each for each in schema.columns if each.name not in aside])
        wanted = [Target(name, (name,)) for name in names]
    used = {name for target in wanted for name in target.columns} | aside
    inputs = [column for name, column in by_name.items() if name not in used]
    lines = [
        f"# {table}: {frame.height:,} rows, {frame.width} columns. Written by `polytask init`; nothing here is final.",
        "# Change what is wrong: all kinds, settings and further entries are in docs/own_data.md.",
        f"table: {_word(table)}",
        "",
        "targets:" + (f"  # {why}" if why else ""),
        *_aligned((f"  - {_word(_spoken(target, frame))}", _because(target, frame)) for target in wanted),
        "",
        "columns:  # what each is taken for, and why",
        *_aligned((f"  {_word(column.name)}: {column.kind}", _told(column)) for column in inputs),
    ]
    if split_column and not split:
        lines += ["", f"split: {_word(split_column)}  # its values name splits"]
    return "\n".join(lines) + "\n"


def written(text: str, out: Path, force: bool) -> Path:
    """Write the file.

    Raises:
        PolytaskError: it is there already, or can't be written.
    """
    if out.exists() and not force:
        raise PolytaskError(f"{out} is there already; give another name by --out, or --force to write over it")
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise PolytaskError(f"--out: expected a name that ends in .yaml, got {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    return out


def relative(table: Path, to: Path) -> str:
    """How a file in a folder calls the table."""
    return Path(os.path.relpath(table.resolve(), to.resolve())).as_posix()


def _guessed_targets(columns: Sequence[Column]) -> tuple[list[str], str]:
    """Which columns are to be predicted, and why these."""
    able = [column.name for column in columns if column.kind in (NUMBER, CATEGORY) or _two_values(column)]
    named = [name for name in able if set(re.split(r"[^a-z]+", name.lower())) & set(TARGET_NAMES)]
    if named:
        return named, "guessed by the name; write here what to predict"
    if not able:
        raise PolytaskError("no column could be a target; name what to predict by --target column:kind")
    return able[-1:], "guessed: the last column that can be one; write here what to predict"


def _two_values(column: Column) -> bool:
    return column.distinct == 2 and not column.kind.own_input


def _split_column(frame: pl.DataFrame, schema: TableSchema) -> str | None:
    """The column whose values name splits."""
    for column in schema.columns:
        if column.kind == CATEGORY and column.distinct > 1:
            values = frame[column.name].drop_nulls().cast(pl.String).str.to_lowercase().unique().to_list()
            if {"train", "test"} <= {SPLIT_WORDS.get(value, "") for value in values} and all(
                value in SPLIT_WORDS for value in values
            ):
                return column.name
    return None


def _spoken(target: Target, frame: pl.DataFrame) -> str:
    """The target with its kind, as on the command line."""
    kind, _ = target.taken_for(frame)
    joined = len(target.columns) > 1 or target.columns[0] != target.name
    name = f"{target.name}={'+'.join(target.columns)}" if joined else target.name
    return f"{name}:{kind.word}"


def _because(target: Target, frame: pl.DataFrame) -> str:
    return target.taken_for(frame)[1]


def _told(column: Column) -> str:
    """Why a column was taken for its kind, with what is worth a look."""
    reason = column.reason
    if column.kind == NUMBER and column.distinct <= CODES and _whole(column.examples):
        reason += f", {column.distinct} different ones; if they are codes, write category"
    if column.missing:
        reason += f"; {column.missing:.1%} missing".replace("%", " %")
    if column.examples and column.kind == NUMBER:
        reason += f"; such as {', '.join(column.examples)}"
    return reason


def _whole(examples: Sequence[str]) -> bool:
    return all(re.fullmatch(r"-?\d+(\.0)?", each) for each in examples)


def _word(text: str) -> str:
    """A word as YAML reads it again."""
    try:
        node = yaml.compose(f"{text}: x", yaml.SafeLoader)
        plain = isinstance(node, yaml.MappingNode) and [key.value for key, _ in node.value] == [text]
    except yaml.YAMLError:
        plain = False
    return text if plain and not re.search(r"[#\"'\[\]{},&*!|>%@`]", text) else json.dumps(text, ensure_ascii=False)


def _aligned(entries: Iterator[tuple[str, str]]) -> list[str]:
    """Entries with their comments one below the other."""
    found = list(entries)
    width = min(max((len(entry) for entry, _ in found), default=0), 40)
    return [f"{entry:<{width}}  # {' '.join(told.split())}" if told else entry for entry, told in found]
