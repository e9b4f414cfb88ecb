"""Prepared tables kept in a folder, so that the next training opens them at once."""

import errno
import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polytask
from polytask import tasks
from polytask._plain import checksum, plain, rebuild
from polytask.data.tables.encoded import open_encoded
from polytask.data.tables.kinds import KINDS
from polytask.data.tables.prepare import PreparedTable
from polytask.data.tables.preprocessing import TablePreprocessing
from polytask.data.tables.schema import Column, TableSchema
from polytask.errors import PolytaskError

TOLD = "store.json"


@dataclass(frozen=True)
class Store:
    """A folder with prepared tables, one for every way of asking.

    What is kept is told apart by everything asked for (which table, targets, what was said about columns, seed,
    version of polytask), and is stale when a file that it was made of has another size or another time of change:
    it is then made again. Pictures that a table names are not looked at.

    A table is prepared in a folder of its own that gets its name when all is there: an interruption or a full disk
    leaves nothing that could be taken for a whole one. Two processes may prepare the same table at once; one of them
    was busy in vain.

    Args:
        root: the folder; made where it is not there.
        name: of the table, for people who look into the folder.
        asked: everything that determines the result besides the files, plain data.
        files: that it is made of.
    """

    root: Path
    name: str
    asked: Mapping[str, Any]
    files: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        """Where this table is kept."""
        return self.root / f"{self.name}-{checksum({**self.asked, 'polytask': polytask.__version__})}"

    def prepared(self, prepare: Callable[[Path], PreparedTable]) -> PreparedTable:
        """The table, prepared now if it isn't kept or is stale.

        Args:
            prepare: prepares the table with its encoded columns in an empty folder.

        Raises:
            PolytaskError: a full disk, or what `prepare` raises.
        """
        if (kept := self._kept()) is not None:
            return kept
        work = self.root / f".{self.folder.name}.{platform.node()}.{os.getpid()}"
        try:
            work.mkdir(parents=True)
            self._sweep()
            made = prepare(work / "columns")
            told = {"files": self._stamps(), "table": _written(made)}
            (work / TOLD).write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")
            del made
            if self.folder.exists() and self._kept() is None:
                shutil.rmtree(self.folder)
            with suppress(OSError):  # another process was faster
                work.rename(self.folder)
        except OSError as error:
            full = " (the disk is full: the folder may be on another one)" if error.errno == errno.ENOSPC else ""
            raise PolytaskError(f"can't keep the prepared table in {self.root}: {error}{full}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
        if (kept := self._kept()) is None:
            raise PolytaskError(
                f"the files of {self.name} changed while they were read; start again when they are complete"
            )
        return kept

    def _kept(self) -> PreparedTable | None:
        """What is kept, if it is whole and fresh."""
        try:
            told = json.loads((self.folder / TOLD).read_text(encoding="utf-8"))
            if told["files"] != self._stamps():
                return None
            return _read(told["table"], self.folder / "columns")
        except (OSError, ValueError, KeyError, TypeError, PolytaskError):
            return None

    def _stamps(self) -> list[list[Any]]:
        """Name, size and time of change of every file."""
        found = [(path.resolve(), path.stat()) for path in self.files]
        return [[str(path), seen.st_size, seen.st_mtime_ns] for path, seen in found]

    def _sweep(self) -> None:
        """Delete what processes of this machine left that were killed while they prepared."""
        prefix = f".{self.folder.name}.{platform.node()}."
        for left in self.root.glob(f"{prefix}*"):
            process = left.name.removeprefix(prefix)
            if process.isdigit() and not _runs(int(process)):
                shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _written(made: PreparedTable) -> dict[str, Any]:
    """Everything but the columns, as plain data."""
    columns = [{**vars(each), "kind": [each.kind.word, plain(each.kind.options)]} for each in made.schema.columns]
    return {
        "tasks": [plain(task.describe()) for task in made.tasks],
        "preprocessing": made.preprocessing.to_json(),
        "schema": {"columns": columns, "rows": made.schema.rows},
        "notes": list(made.notes),
    }


def _read(told: Mapping[str, Any], folder: Path) -> PreparedTable:
    named = [getattr(tasks, name) for name in tasks.__all__]
    kinds = [each for each in named if isinstance(each, type) and issubclass(each, tasks.Task)]
    columns = [_column(**each) for each in told["schema"]["columns"]]
    return PreparedTable(
        tuple(rebuild({"class": each.pop("kind"), "args": each}, kinds) for each in told["tasks"]),
        open_encoded(folder),
        TablePreprocessing.from_json(told["preprocessing"]),
        TableSchema(tuple(columns), told["schema"]["rows"]),
        tuple(told["notes"]),
    )


def _column(kind: tuple[str, Mapping[str, Any]], examples: Sequence[str], **told: Any) -> Column:
    word, options = kind
    return Column(kind=KINDS[word].having(options), examples=tuple(examples), **told)
