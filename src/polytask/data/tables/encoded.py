"""Encoded tables in files: written one column and some rows at a time, mapped back as tensors."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
from torch import Tensor

from polytask.data.arrays import TensorData
from polytask.data.mapped import Array, mapped, write_header, write_rows
from polytask.data.tables.columns import Table
from polytask.data.tables.encoders import Encoder
from polytask.data.tables.preprocessing import CATEGORIES, NUMBERS, TablePreprocessing
from polytask.errors import PolytaskError

INDEX = "columns.json"
AT_ONCE = 1 << 26
"""Bytes of encoded rows in memory together."""


def write_encoded(
    preprocessing: TablePreprocessing,
    table: Table,
    rows: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    folder: Path,
) -> dict[str, TensorData]:
    """Write the splits of a table as encoded columns, and map them.

    Every split has its own files, in which its rows lie one after the other: `numbers` [rows, features] float32 and
    `categories` [rows, columns] int32, row by row, so that a sample is in one place; one file for each column with an
    input of its own; one for each task's labels.

    The table is read one column at a time. The numbers of the columns first go into a scratch file column by column,
    from which the rows are put together; it is as large as what it becomes, and deleted.

    Args:
        preprocessing: fitted on the training rows.
        table: converted, as `infer` gives it.
        rows: of every split.
        labels: of all rows, by task.
        folder: for the files; empty.

    Raises:
        PolytaskError: too little space on the disk, which is looked at before anything is written, or a number that is
            not finite.

    Cost: memory for one column of the table and 64 MiB; twice the encoded size on the disk while it is written.
    """
    folder.mkdir(exist_ok=True)
    _check_space(preprocessing, table, sum(map(len, rows.values())), labels, folder)
    index: dict[str, dict[str, dict[str, str]]] = {split: {"inputs": {}, "targets": {}} for split in rows}
    with ExitStack() as stack:
        shared = {split: _Shared(preprocessing, split, len(these), folder, stack) for split, these in rows.items()}
        for number, encoder in enumerate(preprocessing.encoders):
            column = table[encoder.name]
            for split, these in rows.items():
                shared[split].add(encoder, column, these)
                if encoder.own_input:
                    own = _write_own(encoder, column, these, folder / f"{split}-own-{number}")
                    index[split]["inputs"] |= own
        for split in rows:
            index[split]["inputs"] = shared[split].finish() | index[split]["inputs"]
    for number, (task, each) in enumerate(labels.items()):
        for split, these in rows.items():
            path = folder / f"{split}-labels-{number}.npy"
            write_rows(path, each.numpy().dtype, (len(these), *each.shape[1:]), _blocks(each, these))
            index[split]["targets"][task] = path.name
    (folder / INDEX).write_text(json.dumps(index, ensure_ascii=False, indent=1), encoding="utf-8")
    for path in folder.iterdir():
        _flush(path)
    return open_encoded(folder)


def open_encoded(folder: Path) -> dict[str, TensorData]:
    """The splits that `write_encoded` wrote; nothing is read but the labels.

    Raises:
        PolytaskError: a file is not there, or not whole.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PolytaskError(f"{folder / INDEX} can't be read ({error})") from error
    return {
        split: TensorData(
            {name: mapped(folder / file, known_finite=True) for name, file in told["inputs"].items()},
            {task: mapped(folder / file) for task, file in told["targets"].items()},
        )
        for split, told in index.items()
    }


class _Shared:
    """The inputs that columns share, of one split.

    Args:
        preprocessing, split, rows, folder: of which columns, how many rows, where.
        stack: closes the files.
    """

    def __init__(
        self, preprocessing: TablePreprocessing, split: str, rows: int, folder: Path, stack: ExitStack
    ) -> None:
        self.rows = rows
        widths = {NUMBERS: len(preprocessing.features), CATEGORIES: len(preprocessing.categories)}
        widths = widths if any(widths.values()) else {}
        dtypes = {NUMBERS: np.float32, CATEGORIES: np.int32}
        self.kinds = {name: (np.dtype(dtypes[name]), width) for name, width in widths.items()}
        self.paths = {name: folder / f"{split}-{name}.npy" for name in widths}
        self.scratch: dict[str, BinaryIO] = {
            name: stack.enter_context((folder / f"{split}-{name}.scratch").open("w+b")) for name in widths
        }
        self.done = {NUMBERS: 0, CATEGORIES: 0}

    def add(self, encoder: Encoder, column: pl.Series, these: Tensor) -> None:
        """Append what a column adds to the inputs that columns share."""
        wide = len(encoder.features)
        for start, part in _parts(column, these, 8 * max(1, wide)):
            if wide:
                numbers = encoder.numbers(part)
                _refuse_not_finite(encoder.name, numbers)
                for k in range(wide):
                    self._put(NUMBERS, self.done[NUMBERS] + k, start, numbers[:, k])
            if encoder.cardinality:
                codes = encoder.codes(part)
                assert codes is not None
                self._put(CATEGORIES, self.done[CATEGORIES], start, codes)
        self.done[NUMBERS] += wide
        self.done[CATEGORIES] += bool(encoder.cardinality)

    def _put(self, name: str, column: int, start: int, values: Array) -> None:
        dtype = self.kinds[name][0]
        self.scratch[name].seek((column * self.rows + start) * dtype.itemsize)
        self.scratch[name].write(np.ascontiguousarray(values, dtype).data)

    def finish(self) -> dict[str, str]:
        """Put the rows together; the names of the files by input."""
        for name, scratch in self.scratch.items():
            dtype, width = self.kinds[name]
            scratch.flush()
            write_rows(self.paths[name], dtype, (self.rows, width), self._rows(scratch, dtype, width))
            scratch.close()
            Path(scratch.name).unlink()
        return {name: path.name for name, path in self.paths.items()}

    def _rows(self, scratch: BinaryIO, dtype: np.dtype[Any], width: int) -> Iterator[Array]:
        if not width:
            return
        columns = np.memmap(scratch, dtype, "r", shape=(width, self.rows))
        step = max(1, AT_ONCE // (width * dtype.itemsize))
        for start in range(0, self.rows, step):
            yield columns[:, start : start + step].T


def _write_own(encoder: Encoder, column: pl.Series, these: Tensor, stem: Path) -> dict[str, str]:
    """The inputs of one column alone; the names of the files by input."""
    files: dict[str, BinaryIO] = {}
    with ExitStack() as stack:
        for _, part in _parts(column, these, _row_bytes(encoder, column)):
            for number, (name, values) in enumerate(encoder.inputs(part).items()):
                if np.issubdtype(values.dtype, np.floating):
                    _refuse_not_finite(encoder.name, values)
                if name not in files:
                    files[name] = stack.enter_context(stem.with_name(f"{stem.name}-{number}.npy").open("wb"))
                    write_header(files[name], values.dtype, (len(these), *values.shape[1:]))
                files[name].write(np.ascontiguousarray(values).data)
    return {name: Path(file.name).name for name, file in files.items()}


def _parts(column: pl.Series, these: Tensor, row_bytes: int) -> Iterator[tuple[int, pl.Series]]:
    """Some rows of a column after the other, with the place of the first."""
    start = 0
    for part in these.split(max(1, AT_ONCE // max(1, row_bytes))):
        yield start, column.gather(pl.Series(part.numpy()))
        start += len(part)


def _blocks(labels: Tensor, these: Tensor) -> Iterator[Array]:
    for part in these.split(1 << 20):
        yield labels[part].numpy()


def _row_bytes(encoder: Encoder, column: pl.Series) -> int:
    """How many bytes a row has in the inputs of this column alone."""
    return sum(each.nbytes for each in encoder.inputs(column.head(1)).values())


def _check_space(
    preprocessing: TablePreprocessing, table: Table, rows: int, labels: Mapping[str, Tensor], folder: Path
) -> None:
    shared = 4 * (len(preprocessing.features) + len(preprocessing.categories))
    alone = [encoder for encoder in preprocessing.encoders if encoder.own_input]
    own = sum(_row_bytes(encoder, table[encoder.name]) for encoder in alone)
    targets = sum(each.numel() * each.element_size() for each in labels.values())
    needed, free = rows * (2 * shared + own) + targets, shutil.disk_usage(folder).free
    if needed > free:
        raise PolytaskError(
            f"the encoded table needs {needed / 1e9:.1f} GB at {folder.parent} while it is written, and "
            f"{free / 1e9:.1f} GB are free: name a folder on another disk, free some space, or leave out columns "
            "(columns: {name: drop})"
        )


def _refuse_not_finite(name: str, values: Array) -> None:
    if not np.isfinite(values).all():
        raise PolytaskError(f"column '{name}' gives inputs that are NaN or infinite; is a fill value missing?")


def _flush(path: Path) -> None:
    """Onto the disk, so that a file that is there after a power cut is whole."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
