"""The YAML file by which people say what a table's columns are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from polytask._text import did_you_mean
from polytask.data.tables.kinds import KINDS, Kind
from polytask.data.tables.reading import MISSING
from polytask.errors import PolytaskError
from polytask.tasks import Task


@dataclass(frozen=True)
class Overrides:
    """What is said about a table rather than guessed.

    A file with all of it (every entry may be left out)::

        columns:             # the rest is guessed
          age: number        # number, boolean, category, date or drop
          zip: category
          id: drop
        targets:             # name:kind, as on the command line
          - income:binary
          - tags=red+round:multilabel
        auxiliary: [hours]   # targets that are trained for the sake of the others
        importance:          # how much a target counts where results are summed up; 1 where not said
          income: 2
        units:               # what a target is measured in
          hours: h
        group: patient       # rows with the same patient stay in one split
        split: fold          # or: a column that says train, validation or test for every row
        missing: ["?", "-9"] # cells that mean "no value", instead of the usual ones

    Args:
        columns: kinds by column name.
        targets: as in `polytask.data.tables.Target.parse`.
        auxiliary, importance, units: of targets, by name; see `polytask.tasks.Task`.
        group: rows with the same value here stay in one split.
        split: the column that names the split of every row.
        missing: cells that mean "no value".
        lines: where the file names each column, for errors.
    """

    columns: Mapping[str, Kind] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    auxiliary: tuple[str, ...] = ()
    importance: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    split: str | None = None
    missing: tuple[str, ...] = MISSING
    lines: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, path: str | Path) -> "Overrides":
        """Read the YAML file.

        Raises:
            PolytaskError: not YAML, or a key or kind that there is not; with the line.
        """
        return _Reader(Path(path)).read()

    @property
    def as_written(self) -> set[str]:
        """Columns whose cells are words even where they look like numbers."""
        return {name for name, kind in self.columns.items() if kind.as_written}

    def marked(self, task: Task) -> Task:
        """The task as the file has it: auxiliary, important, with a unit."""
        return replace(
            task,
            auxiliary=task.name in self.auxiliary,
            importance=self.importance.get(task.name, 1.0),
            unit=self.units.get(task.name, ""),
        )

    def check_targets(self, targets: Iterable[str]) -> None:
        """An error when something is said of a target that there is not."""
        there = list(targets)
        for entry, names in {"auxiliary": self.auxiliary, "importance": self.importance, "units": self.units}.items():
            for name in names:
                if name not in there:
                    raise PolytaskError(f"'{name}' under '{entry}' is no target: {did_you_mean(name, there)}")

    def check(self, names: Iterable[str]) -> None:
        """An error when a column is named that the table does not have."""
        there = list(names)
        for name in (*self.columns, *(each for each in (self.group, self.split) if each)):
            if name not in there:
                where = self.lines.get(name, "")
                raise PolytaskError(f"{where}the table has no column '{name}': {did_you_mean(name, there)}")


class _Reader:
    """Walks the YAML nodes, which know their lines; all scalars stay text (no, 1e3 and 01 are as written)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, str] = {}
        self.keys = {
            "columns": self._columns,
            "targets": self._texts,
            "auxiliary": self._texts,
            "importance": self._numbers,
            "units": self._words,
            "group": self._column,
            "split": self._column,
            "missing": self._texts,
        }

    def read(self) -> Overrides:
        if not self.path.is_file():
            raise PolytaskError(f"no YAML file about the table's columns at {self.path}")
        try:
            root = yaml.compose(self.path.read_text(encoding="utf-8"), yaml.SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise PolytaskError(f"{self.path} is not YAML: {' '.join(str(error).split())}") from error
        if root is None:
            return Overrides()
        found: dict[str, Any] = {}
        for key, node in self._entries(root, "the file"):
            if key.value not in self.keys:
                raise PolytaskError(f"{self._at(key)}unknown entry '{key.value}': {did_you_mean(key.value, self.keys)}")
            found[key.value] = self.keys[key.value](node)
        return Overrides(**found, lines=self.lines)

    def _columns(self, node: yaml.Node) -> dict[str, Kind]:
        columns = {}
        for key, value in self._entries(node, "columns"):
            word = self._text(value)
            if word not in KINDS:
                raise PolytaskError(
                    f"{self._at(value)}column '{key.value}' cannot be a '{word}': {did_you_mean(word, KINDS)}"
                )
            columns[key.value] = KINDS[word]
            self.lines[key.value] = self._at(key)
        return columns

    def _words(self, node: yaml.Node) -> dict[str, str]:
        return {key.value: self._text(value) for key, value in self._entries(node, "this entry")}

    def _numbers(self, node: yaml.Node) -> dict[str, float]:
        found = {}
        for key, value in self._entries(node, "this entry"):
            try:
                found[key.value] = float(self._text(value))
            except ValueError:
                raise PolytaskError(
                    f"{self._at(value)}expected a number for '{key.value}', got '{value.value}'"
                ) from None
        return found

    def _column(self, node: yaml.Node) -> str:
        name = self._text(node)
        self.lines[name] = self._at(node)
        return name

    def _texts(self, node: yaml.Node) -> tuple[str, ...]:
        if not isinstance(node, yaml.SequenceNode):
            return (self._text(node),)
        return tuple(self._text(each) for each in node.value)

    def _text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise PolytaskError(f"{self._at(node)}expected a word, got a list or a mapping")
        return str(node.value)

    def _entries(self, node: yaml.Node, what: str) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            raise PolytaskError(f"{self._at(node)}{what} must hold entries such as 'key: value'")
        keys: list[str] = [self._text(key) for key, _ in node.value]
        for number, (key, _) in enumerate(node.value):
            if key.value in keys[:number]:
                raise PolytaskError(f"{self._at(key)}'{key.value}' is there twice; keep one of them")
        return list(node.value)

    def _at(self, node: yaml.Node) -> str:
        return f"{self.path}, line {node.start_mark.line + 1}: "
