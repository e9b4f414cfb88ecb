"""The YAML file by which people say what a table's columns are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from polytask._text import did_you_mean
from polytask.data.tables.joining import Join
from polytask.data.tables.kinds import KINDS, Kind
from polytask.data.tables.reading import MISSING
from polytask.data.tables.split_rule import SplitRule
from polytask.data.tables.targets import Target
from polytask.errors import PolytaskError
from polytask.tasks import Task


@dataclass(frozen=True)
class Overrides:
    """What is said about a table rather than guessed.

    A file with all of it (every entry may be left out)::

        table: people.csv    # what is described, relative to this file; then the file can stand for the table
        columns:             # the rest is guessed
          age: number        # number, boolean, category, date, text, image, vector or drop
          zip: category
          id: drop
          photo: {kind: image, size: 96, unreadable: missing}  # with settings
          notes: {kind: text, words: 100, vocabulary: 5000}
        targets:             # name:kind, as on the command line
          - income:binary
          - tags=red+round:multilabel
        classes:             # what a target may say, in order; any other label is an error
          income: [low, high]
        auxiliary: [hours]   # targets that are trained for the sake of the others
        importance:          # how much a target counts where results are summed up; 1 where not said
          income: 2
        units:               # what a target is measured in
          hours: h
        group: patient       # rows with the same patient stay in one split
        split: fold          # a column that says train, validation or test for every row; or
                             #   {time: day}: earlier rows train, later ones validate, the last ones test
                             #   {stratify: [income]}: every split gets its share of each class; all: of all targets
                             #   both with shares: {train: 0.8, validation: 0.1, test: 0.1}
                             #   {column: fold, time: day}: a warning where test rows are not the last ones
        missing: ["?", "-9"] # cells that mean "no value", instead of the usual ones
        trunk:               # the network that reads the inputs; the rest is chosen
          parts:
            notes: Words(width=128, windows=(3, 4, 5))
            photo: my_parts.Photo(width=32)  # a class or function of your own, by its dotted name
          widths: [128, 64]
        join:                # further tables, matched by a key; relative to this file
          - table: visits.parquet
            key: patient     # or several: [patient, day]
            columns: [bp]    # what to take of it; everything where not said

    Args:
        columns: kinds by column name.
        targets: as in `polytask.data.tables.Target.parse`.
        table: what is described.
        classes: of targets, by name: all labels that there may be; of a binary target, the second is the positive one.
        trunk: the network that reads the inputs, as it is written: a name, or parts, widths and dropout; see
            `polytask.sharing.Fusion`.
        auxiliary, importance, units: of targets, by name; see `polytask.tasks.Task`.
        group: rows with the same value here stay in one split.
        split: the column that names the split of every row, or how rows are split (`SplitRule`).
        missing: cells that mean "no value".
        join: further tables, of which columns are added to the rows.
        lines: where the file names each column, for errors.
    """

    columns: Mapping[str, Kind] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    table: Path | None = None
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    trunk: str | Mapping[str, Any] | None = None
    auxiliary: tuple[str, ...] = ()
    importance: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    split: str | SplitRule | None = None
    missing: tuple[str, ...] = MISSING
    join: tuple[Join, ...] = ()
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

    def wanted(self, targets: Sequence[str], names: Sequence[str]) -> list[Target]:
        """The targets: those given, else those that the file names.

        Args:
            targets: as in `Target.parse`.
            names: the columns of the table.
        """
        if targets:
            return [Target.parse(text, names) for text in targets]
        found = []
        for text in self.targets:
            try:
                found.append(Target.parse(text, names))
            except PolytaskError as error:
                raise PolytaskError(f"{self.lines.get(text, '')}{error}") from error
        return found

    def check_targets(self, targets: Iterable[str]) -> None:
        """An error when something is said of a target that there is not."""
        there = list(targets)
        said = {
            "stratify": self.rule.stratified_by(there),
            "auxiliary": self.auxiliary,
            "importance": self.importance,
            "units": self.units,
            "classes": self.classes,
        }
        for entry, names in said.items():
            for name in names:
                if name not in there:
                    where = self.lines.get(name, "")
                    raise PolytaskError(f"{where}'{name}' under '{entry}' is no target: {did_you_mean(name, there)}")

    @property
    def rule(self) -> SplitRule:
        """How rows come to their split."""
        return self.split if isinstance(self.split, SplitRule) else SplitRule(self.split)

    def check(self, names: Iterable[str]) -> None:
        """An error when a column is named that the table does not have."""
        there = list(names)
        for name in (*self.columns, *([self.group] if self.group else ()), *self.rule.uses()):
            if name not in there:
                where = self.lines.get(name, "")
                raise PolytaskError(f"{where}the table has no column '{name}': {did_you_mean(name, there)}")


TRUNK_ENTRIES = ("parts", "widths", "dropout")
"""What is said of the trunk."""

JOIN_ENTRIES = ("table", "key", "columns")
"""What is said of a further table; the first two always."""


class _Reader:
    """Walks the YAML nodes, which know their lines; all scalars stay text (no, 1e3 and 01 are as written)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, str] = {}
        self.keys = {
            "columns": self._columns,
            "targets": self._texts,
            "table": self._table,
            "classes": self._lists,
            "trunk": self._trunk,
            "auxiliary": self._texts,
            "importance": self._numbers,
            "units": self._words,
            "group": self._column,
            "split": self._split,
            "missing": self._texts,
            "join": self._joins,
        }

    def read(self) -> Overrides:
        if not self.path.is_file():
            raise PolytaskError(f"no YAML file about the table's columns at {self.path}")
        try:
            root = yaml.compose(self.path.read_text(encoding="utf-8"), yaml.SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise PolytaskError(not_yaml(self.path, error)) from error
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
            columns[key.value] = self._kind(key.value, value)
            self.lines[key.value] = self._at(key)
        return columns

    def _kind(self, name: str, node: yaml.Node) -> Kind:
        """A word, or a mapping with `kind` and its settings."""
        said = dict[str, tuple[yaml.ScalarNode, yaml.Node]]()
        if isinstance(node, yaml.MappingNode):
            said = {key.value: (key, value) for key, value in self._entries(node, name)}
            if "kind" not in said:
                raise PolytaskError(f"{self._at(node)}column '{name}' needs 'kind', as in {{kind: text}}")
            _, node = said.pop("kind")
        word = self._text(node)
        if word not in KINDS:
            raise PolytaskError(f"{self._at(node)}column '{name}' cannot be a '{word}': {did_you_mean(word, KINDS)}")
        kind = KINDS[word]
        for setting, (key, value) in said.items():
            try:
                kind = kind.having({setting: self._value(value)})
            except PolytaskError as error:
                raise PolytaskError(f"{self._at(key)}column '{name}': {error}") from error
        return kind

    def _table(self, node: yaml.Node) -> Path:
        return self.path.parent / self._text(node)

    def _lists(self, node: yaml.Node) -> dict[str, tuple[str, ...]]:
        return {key.value: self._texts(value) for key, value in self._entries(node, "this entry")}

    def _trunk(self, node: yaml.Node) -> str | dict[str, Any]:
        """A name, or what is said of `Fusion`."""
        if isinstance(node, yaml.ScalarNode):
            return self._text(node)
        found: dict[str, Any] = {}
        for key, value in self._entries(node, "trunk"):
            if key.value not in TRUNK_ENTRIES:
                raise PolytaskError(
                    f"{self._at(key)}unknown entry '{key.value}': {did_you_mean(key.value, TRUNK_ENTRIES)}"
                )
            found[key.value] = self._words(value) if key.value == TRUNK_ENTRIES[0] else self._value(value)
        return found

    def _value(self, node: yaml.Node) -> Any:
        """What YAML takes a value for: a number, a word, true or false, a list."""
        try:
            return yaml.safe_load(yaml.serialize(node))
        except yaml.YAMLError as error:
            raise PolytaskError(f"{self._at(node)}{' '.join(str(error).split())}") from error

    def _joins(self, node: yaml.Node) -> tuple[Join, ...]:
        entries = node.value if isinstance(node, yaml.SequenceNode) else [node]
        return tuple(self._join(each) for each in entries)

    def _join(self, node: yaml.Node) -> Join:
        found = dict[str, tuple[str, ...]]()
        for key, value in self._entries(node, "a table under 'join'"):
            if key.value not in JOIN_ENTRIES:
                raise PolytaskError(
                    f"{self._at(key)}unknown entry '{key.value}': {did_you_mean(key.value, JOIN_ENTRIES)}"
                )
            found[key.value] = self._texts(value)
        for name in JOIN_ENTRIES[:2]:
            if not found.get(name):
                raise PolytaskError(f"{self._at(node)}a table under 'join' needs '{name}'")
        return Join(self.path.parent / found["table"][0], found["key"], found.get("columns", ()))

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

    def _split(self, node: yaml.Node) -> str | SplitRule:
        if not isinstance(node, yaml.MappingNode):
            return self._column(node)
        keys = {"column": self._column, "time": self._column, "stratify": self._texts, "shares": self._numbers}
        found: dict[str, Any] = {}
        for key, value in self._entries(node, "split"):
            if key.value not in keys:
                raise PolytaskError(f"{self._at(key)}unknown entry '{key.value}': {did_you_mean(key.value, keys)}")
            found[key.value] = keys[key.value](value)
        try:
            return SplitRule(**found)
        except PolytaskError as error:
            raise PolytaskError(f"{self._at(node)}{error}") from None

    def _texts(self, node: yaml.Node) -> tuple[str, ...]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        texts = tuple(self._text(each) for each in nodes)
        for text, each in zip(texts, nodes, strict=True):
            self.lines.setdefault(text, self._at(each))
        return texts

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
            self.lines.setdefault(key.value, self._at(key))
        return list(node.value)

    def _at(self, node: yaml.Node) -> str:
        return f"{self.path}, line {node.start_mark.line + 1}, column {node.start_mark.column + 1}: "


def not_yaml(path: Path, error: Exception) -> str:
    """Where a file stops to be YAML, and why, in one line."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"{path} is not YAML: {' '.join(str(error).split())}"
    mark = error.problem_mark
    tab = mark.buffer is not None and mark.buffer[mark.pointer : mark.pointer + 1] == "\t"
    why = "use spaces, not tabs" if tab else error.problem
    return f"{path} is not YAML: line {mark.line + 1}, column {mark.column + 1}: {why}"
