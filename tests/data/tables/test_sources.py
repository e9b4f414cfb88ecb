"""Sources of tables: what a path stands for, several files as one table, and what is refused."""

import json
from pathlib import Path

import polars as pl
import pytest

from polytask.data.tables import files_of, is_table, open_table, read_table
from polytask.errors import PolytaskError

FRAME = pl.DataFrame({"age": [31, 45, None], "job": ["cook", None, "nurse"], "pay": [1.5, 2.0, -3.25]})


def write(frame: pl.DataFrame, path: Path) -> Path:
    """The table in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    {
        ".csv": frame.write_csv,
        ".parquet": frame.write_parquet,
        ".arrow": frame.write_ipc,
        ".arrows": frame.write_ipc_stream,
        ".jsonl": frame.write_ndjson,
    }[path.suffix](path)
    return path


def saved(folder: Path, shards: list[pl.DataFrame], classes: dict[str, list[str]]) -> None:
    """A folder as `Dataset.save_to_disk` of Hugging Face `datasets` writes it (compared with one of version 5.2)."""
    folder.mkdir(parents=True)
    names = [f"data-{k:05}-of-{len(shards):05}.arrow" for k in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        shard.write_ipc_stream(folder / name)
    features = {
        name: {"names": classes[name], "_type": "ClassLabel"} if name in classes else {"_type": "Value"}
        for name in shards[0].columns
    }
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))


# --- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.arrow", "t.arrows", "t.jsonl"])
def test_every_format_gives_the_same_table(tmp_path: Path, name: str) -> None:
    assert read_table(write(FRAME, tmp_path / name)).equals(FRAME)


def test_an_arrow_stream_may_be_called_as_an_arrow_file(tmp_path: Path) -> None:
    FRAME.write_ipc_stream(tmp_path / "t.arrow")
    table = open_table(tmp_path / "t.arrow")
    assert table.read().equals(FRAME)
    assert not table.by_column
    assert open_table(write(FRAME, tmp_path / "u.arrow")).by_column


def test_a_key_that_an_object_lacks_is_missing(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": 1, "b": "x"}\n{"a": 2.5}\n{"b": "?"}\n')
    assert read_table(tmp_path / "t.jsonl").rows() == [(1.0, "x"), (2.5, None), (None, None)]


@pytest.mark.parametrize("name", ["t.arrow", "t.parquet", "t.jsonl"])
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("age,job\n31,cook\n")
    with pytest.raises(PolytaskError, match=rf"cannot read .*{name}.*; expected (an Arrow file|Parquet|one JSON)"):
        read_table(tmp_path / name)


# --- several files ----------------------------------------------------------------------------------------------------


def test_files_of_a_pattern_or_a_folder_are_one_table_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, rows in {"b": FRAME[1:2], "a": FRAME[:1], "c": FRAME[2:]}.items():
        write(rows, tmp_path / f"{name}.csv")
    assert read_table(tmp_path / "*.csv").equals(FRAME)
    assert read_table(tmp_path).equals(FRAME)
    assert [path.name for path in files_of(tmp_path)] == ["a.csv", "b.csv", "c.csv"]
    assert open_table(tmp_path).split is None


def test_types_that_fit_are_joined(tmp_path: Path) -> None:
    write(pl.DataFrame({"x": [1, 2], "w": ["a", "b"], "void": [None, None]}), tmp_path / "a.parquet")
    low = {"x": pl.Float32, "w": pl.Categorical, "void": pl.Int8}
    write(pl.DataFrame({"w": ["c"], "x": [0.5], "void": [7]}).cast(low), tmp_path / "b.parquet")  # another order
    assert read_table(tmp_path).rows() == [(1.0, "a", None), (2.0, "b", None), (0.5, "c", 7)]


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_a_column_that_changes_type_between_files_is_told(tmp_path: Path, ending: str) -> None:
    write(pl.DataFrame({"age": [31, 45]}), tmp_path / f"a.{ending}")
    write(pl.DataFrame({"age": ["52", "unknown"]}), tmp_path / f"b.{ending}")
    told = rf"'age' holds numbers in .*a\.{ending} and text in .*b\.{ending}, first 'unknown' in row 2 .*'missing'"
    with pytest.raises(PolytaskError, match=told):
        read_table(tmp_path)
    assert read_table(tmp_path, text=["age"])["age"].to_list() == ["31", "45", "52", "unknown"]


def test_what_is_declared_missing_changes_no_type(tmp_path: Path) -> None:
    write(pl.DataFrame({"age": [31, 45]}), tmp_path / "a.csv")
    write(pl.DataFrame({"age": ["52", "unknown"]}), tmp_path / "b.csv")
    assert read_table(tmp_path, missing=["unknown"])["age"].to_list() == [31, 45, 52, None]


def test_text_that_is_numbers_or_nothing_is_no_other_type(tmp_path: Path) -> None:
    write(pl.DataFrame({"x": [1, 2], "y": [True, False]}), tmp_path / "a.parquet")
    write(pl.DataFrame({"x": ["2.5", None], "y": pl.Series([None, None], dtype=pl.String)}), tmp_path / "b.parquet")
    assert read_table(tmp_path).rows() == [(1.0, True), (2.0, False), (2.5, None), (None, None)]


def test_dates_here_and_numbers_there_are_told(tmp_path: Path) -> None:
    write(pl.DataFrame({"day": [31]}), tmp_path / "a.parquet")
    write(pl.DataFrame({"day": [31]}).with_columns(pl.col("day").cast(pl.Date)), tmp_path / "b.parquet")
    with pytest.raises(PolytaskError, match=r"holds numbers in .* and dates in .*one sort of cells"):
        read_table(tmp_path)


@pytest.mark.parametrize("less", ["a", "b"])
def test_a_file_that_lacks_a_column_is_told(tmp_path: Path, less: str) -> None:
    for name in "ab":
        write(FRAME.drop("pay") if name == less else FRAME, tmp_path / f"{name}.csv")
    with pytest.raises(PolytaskError, match=rf"{less}\.csv lacks column 'pay', which "):
        read_table(tmp_path)


def test_the_broken_one_of_many_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.csv").write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(PolytaskError, match=r"cannot read .*b\.csv: .*as many cells in every line"):
        read_table(tmp_path)


def test_folders_and_patterns_without_a_table(tmp_path: Path) -> None:
    with pytest.raises(PolytaskError, match=r"holds no table: expected files that end in \.csv"):
        open_table(tmp_path)
    with pytest.raises(PolytaskError, match="no file fits"):
        open_table(tmp_path / "*.csv")
    write(FRAME, tmp_path / "a.csv")
    write(FRAME, tmp_path / "a.parquet")
    with pytest.raises(PolytaskError, match=r"holds .csv and .parquet files; .* as in .*/\*\.csv"):
        open_table(tmp_path)


def test_what_is_taken_for_a_table(tmp_path: Path) -> None:
    assert is_table(Path("data/*.parquet"))
    assert is_table(Path("people.csv.gz"))
    assert not is_table(Path("digits"))
    assert not is_table(tmp_path)
    write(FRAME, tmp_path / "a.csv")
    assert is_table(tmp_path)


# --- splits -----------------------------------------------------------------------------------------------------------


def test_files_named_after_splits_say_the_split(tmp_path: Path) -> None:
    for name, rows in {"train-0": FRAME[:1], "train-1": FRAME[1:2], "test": FRAME[2:]}.items():
        write(rows, tmp_path / f"{name}.parquet")
    table = open_table(tmp_path)
    assert table.split == "split"
    assert table.read()["split"].to_list() == ["test", "train", "train"]


def test_a_column_of_that_name_stays(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write(FRAME.with_columns(split=pl.lit("mine")), tmp_path / f"{name}.csv")
    table = open_table(tmp_path)
    assert table.split == "split of the files"
    assert set(table.read()["split"]) == {"mine"}


def test_one_name_that_is_no_split_and_none_is_taken_for_one(tmp_path: Path) -> None:
    for name in ("train", "tram"):
        write(FRAME, tmp_path / f"{name}.csv")
    assert open_table(tmp_path).split is None


# --- saved data sets --------------------------------------------------------------------------------------------------

LABELLED = FRAME.with_columns(mood=pl.Series([1, 0, -1]))


def test_a_saved_dataset_is_read_in_the_order_of_its_shards(tmp_path: Path) -> None:
    saved(tmp_path / "set", [LABELLED[:2], LABELLED[2:]], {"mood": ["sad", "glad"]})
    found = read_table(tmp_path / "set")
    assert found.drop("mood").equals(FRAME)
    assert found["mood"].to_list() == ["glad", "sad", None]


def test_a_saved_dictionary_says_the_splits(tmp_path: Path) -> None:
    for name, rows in {"train": LABELLED[:2], "test": LABELLED[2:]}.items():
        saved(tmp_path / name, [rows], {"mood": ["sad", "glad"]})
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    table = open_table(tmp_path)
    assert table.split == "split"
    assert table.read().select("mood", "split").rows() == [("glad", "train"), ("sad", "train"), (None, "test")]
    assert len(files_of(tmp_path)) == 7


def test_saved_data_sets_that_are_not_whole(tmp_path: Path) -> None:
    saved(tmp_path / "train", [LABELLED], {})
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(PolytaskError, match=r"names split 'test', and .*test is not there"):
        open_table(tmp_path)
    (tmp_path / "train" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(PolytaskError, match=r"cannot read .*data-00000-of-00001\.arrow"):
        open_table(tmp_path / "train")
    (tmp_path / "train" / "state.json").write_text("{")
    with pytest.raises(PolytaskError, match=r"cannot read .*state\.json"):
        open_table(tmp_path / "train")
