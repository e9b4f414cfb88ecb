"""Tables kept in files: the same as in memory, found again, made again when stale, nothing half."""

import copy
import errno
import os
import pickle
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from polytask import problems
from polytask.data import TensorData
from polytask.data.mapped import Mapped, mapped, write_rows
from polytask.data.tables import encoded, open_table, room
from polytask.errors import PolytaskError
from polytask.problems import Problem

TARGETS = ("rich:binary", "hours:regression", "tags=red+round:multilabel")
ROWS = 400


def people() -> pl.DataFrame:
    """Numbers, words, dates, vectors and texts, some missing."""
    k = range(ROWS)
    return pl.DataFrame(
        {
            "id": [f"person {i}" for i in k],
            "age": [20 + i * 7 % 53 for i in k],
            "grade": [float(i % 4) if i > 300 else None for i in k],
            "job": [("cook", "nurse", "smith", None)[i * 5 % 7 % 4] for i in k],
            "born": [f"19{50 + i % 40}-0{1 + i % 9}-1{i % 7}" for i in k],
            "story": [f"once upon a time there were {i % 97} bears in wood {i % 89}" for i in k],
            "place": [[i / 100, -i / 50] for i in k],
            "rich": [("no", "yes")[i * 11 % 13 % 2] if i % 9 else None for i in k],
            "hours": [30.0 + i * 17 % 23 if i % 5 else None for i in k],
            "red": [i * 3 % 5 % 2 for i in k],
            "round": [i * 7 % 11 % 2 for i in k],
        }
    )


def asked(path: Path, store: Path | None = None, **more: Any) -> Problem:
    return problems.table(path, TARGETS, store=store, **more)


def same(one: Problem, other: Problem) -> bool:
    """Equal in everything that a result could hang on."""
    facts = [(each.fingerprint(), each.tasks, each.preprocessing, each.schema, each.notes) for each in (one, other)]
    return facts[0] == facts[1]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    people().write_parquet(tmp_path / "people.parquet")
    return tmp_path / "people.parquet"


def written(store: Path) -> list[Path]:
    return sorted(each for each in store.iterdir())


# --- the claim: nothing but the place differs -------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["parquet", "arrow", "arrows", "jsonl"])
def test_a_stored_table_is_bit_for_bit_the_table_in_memory(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"people.{ending}"
    frame = people()
    {"parquet": frame.write_parquet, "arrow": frame.write_ipc, "arrows": frame.write_ipc_stream}.get(
        ending, frame.write_ndjson
    )(path)
    memory = asked(path)
    assert same(memory, asked(path, tmp_path / "store"))
    assert same(memory, asked(path, tmp_path / "store"))  # opened, not made
    assert set(memory.splits["train"].inputs) == {"numbers", "categories", "story", "place"}


def test_csv_and_several_files(tmp_path: Path) -> None:
    frame = people().drop("place")
    for first in (0, 100, 200):
        frame[first : first + 200 if first == 200 else first + 100].write_csv(tmp_path / f"part-{first}.csv")
    memory = asked(tmp_path / "part-*.csv")
    assert sum(map(len, memory.splits.values())) == ROWS
    assert same(memory, asked(tmp_path / "part-*.csv", tmp_path / "store"))
    assert not list(tmp_path.glob("store/**/*.arrow"))  # what was written to read it by column is gone


def test_blocks_of_few_rows_give_the_same_files(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded, "AT_ONCE", 999)
    assert same(asked(table), asked(table, tmp_path / "store"))


def test_columns_stay_in_their_files(table: Path, tmp_path: Path) -> None:
    data = asked(table, tmp_path / "store").splits["train"]
    columns = [*data.inputs.values(), *data.targets.values()]
    assert all(isinstance(each, Mapped) for each in columns)
    with torch.no_grad():
        batch = data.gather(torch.tensor([5, 0, 5]))
    assert not any(isinstance(each, Mapped) for each in [*batch.inputs.values(), *batch.targets.values()])
    assert torch.equal(batch.inputs["numbers"][0], batch.inputs["numbers"][2])


def test_a_table_is_never_read_whole(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []
    collect = pl.LazyFrame.collect

    def counted(frame: pl.LazyFrame, *args: Any, **more: Any) -> Any:
        found = collect(frame, *args, **more)
        if found.height == ROWS:
            widths.append(found.width)
        return found

    monkeypatch.setattr(pl.LazyFrame, "collect", counted)
    asked(table, tmp_path / "store")
    assert max(widths) <= 5  # the targets and one input
    widths.clear()
    asked(table)
    assert max(widths) == 11  # the test sees what it claims to see


# --- found again, made again ------------------------------------------------------------------------------------------


def test_what_is_kept_is_opened_without_reading_the_table(table: Path, tmp_path: Path) -> None:
    first = asked(table, tmp_path / "store")
    seen = table.stat()
    table.write_bytes(b"x" * seen.st_size)  # the same size and time of change: nobody looks inside
    os.utime(table, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert same(first, asked(table, tmp_path / "store"))


def test_a_changed_file_makes_it_anew(table: Path, tmp_path: Path) -> None:
    first = asked(table, tmp_path / "store")
    people().with_columns(pl.col("hours") + 1).write_parquet(table)
    second = asked(table, tmp_path / "store")
    assert not same(first, second)
    assert same(second, asked(table))
    assert len(written(tmp_path / "store")) == 1  # the stale one is gone


def test_another_way_of_asking_has_a_place_of_its_own(table: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first, other = asked(table, store), asked(table, store, seed=1)
    assert len(written(store)) == 2
    assert not same(first, other)
    assert same(first, asked(table, store))


@pytest.mark.parametrize("file", ["train-numbers.npy", "columns.json", "../store.json", "test-labels-0.npy"])
def test_a_damaged_store_is_made_anew(table: Path, tmp_path: Path, file: str) -> None:
    first = asked(table, tmp_path / "store")
    path = written(tmp_path / "store")[0] / "columns" / file
    whole = path.read_bytes()
    path.unlink()  # what is mapped already stays
    path.write_bytes(whole[:-9])
    assert same(first, asked(table, tmp_path / "store"))


# --- nothing half -----------------------------------------------------------------------------------------------------


def test_too_little_space_is_told_before_anything_is_written(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(PolytaskError, match=r"needs 0.0 GB at .*store.* and 0.0 GB are free: name a folder on another"):
        asked(table, tmp_path / "store")
    assert not written(tmp_path / "store")


def test_a_disk_that_fills_up_leaves_nothing(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(encoded, "write_rows", full)
    with pytest.raises(PolytaskError, match=r"can't keep the prepared table in .*the disk is full"):
        asked(table, tmp_path / "store")
    assert not written(tmp_path / "store")


def test_what_a_killed_process_left_is_swept_away(table: Path, tmp_path: Path) -> None:
    first = asked(table, tmp_path / "store")
    kept = written(tmp_path / "store")[0]
    left = kept.with_name(f".{kept.name}.{platform.node()}.999999999")
    kept.rename(left)
    assert same(first, asked(table, tmp_path / "store"))
    assert written(tmp_path / "store") == [kept]


def test_files_that_change_while_they_are_read_are_told(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def late(path: Path, to: Path) -> Path:
        os.utime(table, ns=(0, 0))
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(PolytaskError, match="changed while they were read"):
        asked(table, tmp_path / "store")


def test_no_rows_and_no_table(tmp_path: Path) -> None:
    people()[:0].write_parquet(tmp_path / "none.parquet")
    with pytest.raises(PolytaskError, match="holds no rows"):
        asked(tmp_path / "none.parquet", tmp_path / "store")
    with pytest.raises(PolytaskError, match="no table at"):
        asked(tmp_path / "nothing.parquet", tmp_path / "store")


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_table_larger_than_memory_is_told_before_it_is_read(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"people.{ending}"
    frame = people().drop("place")
    (frame.write_parquet if ending == "parquet" else frame.write_csv)(path)
    monkeypatch.setattr(room, "available", lambda: 50_000)
    with pytest.raises(PolytaskError, match=r"needs about 0 GB of memory, and 0 GB are free: .*store='folder'"):
        asked(path)
    assert len(asked(path, tmp_path / "store").splits["train"]) > 0


def test_targets_in_the_test_split_alone_are_told(tmp_path: Path) -> None:
    for name, rows in {"train": (0, 250), "validation": (250, 320), "test": (320, ROWS)}.items():
        frame = people()[slice(*rows)]
        frame = frame if name == "test" else frame.with_columns(hours=pl.lit(None, pl.Float64))
        frame.write_parquet(tmp_path / f"{name}.parquet")
    assert open_table(tmp_path).split == "split"
    for store in (None, tmp_path / "store"):
        with pytest.raises(PolytaskError, match="'hours' has no label in the train"):
            asked(tmp_path / "*.parquet", store)


# --- mapped columns ---------------------------------------------------------------------------------------------------


@pytest.fixture
def column(tmp_path: Path) -> torch.Tensor:
    numbers = np.arange(9000, dtype=np.float32).reshape(3000, 3)
    write_rows(tmp_path / "x.npy", np.float32, (3000, 3), [numbers[:1000], numbers[1000:]])
    return mapped(tmp_path / "x.npy", known_finite=True)


@pytest.mark.parametrize("part", [slice(None), slice(5), slice(7, 9), slice(-4, None), slice(9, 9)])
def test_a_mapped_column_travels_as_the_name_of_its_file(column: torch.Tensor, part: slice) -> None:
    shown = column[part]
    there = pickle.dumps(shown)
    assert len(there) < 500
    for again in (shown, pickle.loads(there), copy.deepcopy(shown), shown[:], shown.narrow(0, 0, len(shown))):
        assert isinstance(again, Mapped)
        assert again.known_finite
        assert again.tolist() == column.tolist()[part]


def test_a_view_of_mapped_columns_travels_as_its_row_numbers(column: torch.Tensor) -> None:
    label = torch.arange(3000.0).masked_fill(torch.arange(3000) % 3 == 0, torch.nan)
    view = (
        TensorData(column, {"x": label, "y": torch.where(label > 9, label, torch.nan)}).only("y").select(slice(5, 99))
    )
    again = pickle.loads(pickle.dumps(view))
    assert again.fingerprint() == view.fingerprint()
    data = TensorData(column, {}).select(torch.tensor([9, 4, 700]))
    assert len(pickle.dumps(data)) < 3000
    assert pickle.loads(pickle.dumps(data)).inputs.tolist() == column.tolist()[9:10] + column.tolist()[4:5] + [
        column.tolist()[700]
    ]


def test_what_is_written_to_a_mapped_column_stays_in_memory(tmp_path: Path) -> None:
    write_rows(tmp_path / "x.npy", np.int32, (4,), [np.arange(4)])
    column = mapped(tmp_path / "x.npy")
    column[0] = 9
    assert mapped(tmp_path / "x.npy").tolist() == [0, 1, 2, 3]


def test_empty_and_broken_files(tmp_path: Path) -> None:
    write_rows(tmp_path / "x.npy", np.int32, (4, 0), [])
    assert tuple(mapped(tmp_path / "x.npy").shape) == (4, 0)
    (tmp_path / "y.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:40])
    for name in ("y.npy", "z.npy"):
        with pytest.raises(PolytaskError, match=f"{name} is no whole .npy file"):
            mapped(tmp_path / name)
