"""Folders that Hugging Face `datasets` writes with `save_to_disk`, read without that library."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from polytask.data.tables.formats import Arrow, Part, reading
from polytask.errors import PolytaskError

STATE, INFO, DICTIONARY = "state.json", "dataset_info.json", "dataset_dict.json"


def is_saved_dataset(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a folder: of a Dataset, or of a DatasetDict."""
    return (folder / STATE).is_file() or (folder / DICTIONARY).is_file()


def files_of_dataset(folder: Path) -> list[Path]:
    """Every file that `saved_dataset` reads."""
    folders = [folder] if (folder / STATE).is_file() else [folder / name for name in _names(folder)]
    dictionary = [] if folders == [folder] else [folder / DICTIONARY]
    return [*dictionary, *(path for each in folders for path in (each / STATE, each / INFO, *_arrow_files(each)))]


def saved_dataset(folder: Path) -> dict[str, list[Part]]:
    """The Arrow files of a folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote, by split.

    A Dataset is a folder with `state.json`, which names the Arrow files in their order, and `dataset_info.json`, which
    describes the columns; a DatasetDict is a folder of those with `dataset_dict.json`, which names them. Whole numbers
    that stand for classes (`ClassLabel`) become the names of the classes; a number that has no name, as the -1 of
    rows without a label, is a missing value.

    The layout is that of folders written by `datasets` 5.2, with which this was compared; nothing but these JSON files
    and Arrow files is read, and nothing in them is executed.

    Args:
        folder: what was saved.

    Returns:
        The files by the name of their split; by "" where the folder is that of one Dataset.

    Raises:
        PolytaskError: a file that the folder names is not there or not whole.
    """
    if (folder / STATE).is_file():
        return {"": _files(folder)}
    return {name: _files(folder / name) for name in _names(folder)}


def _names(folder: Path) -> list[str]:
    """The splits of a DatasetDict."""
    named = _json(folder / DICTIONARY).get("splits")
    if not isinstance(named, list) or not named:
        raise PolytaskError(f"{folder / DICTIONARY} names no splits; expected what DatasetDict.save_to_disk writes")
    for name in named:
        if not (folder / str(name) / STATE).is_file():
            raise PolytaskError(f"{folder / DICTIONARY} names split '{name}', and {folder / str(name)} is not there")
    return [str(name) for name in named]


def _arrow_files(folder: Path) -> list[Path]:
    names = [str(each["filename"]) for each in _json(folder / STATE).get("_data_files", [])]
    if not names:
        raise PolytaskError(f"{folder / STATE} names no Arrow files: the data set is empty")
    return [folder / name for name in names]


def _files(folder: Path) -> list[Part]:
    features = _json(folder / INFO).get("features") or {}
    classes = {name: each["names"] for name, each in features.items() if isinstance(each, dict) and each.get("names")}
    return [_named(_part(path), classes) for path in _arrow_files(folder)]


def _part(path: Path) -> Part:
    with reading(path, Arrow.expected):
        return Arrow().open(path, (), ())


def _named(part: Part, classes: dict[str, list[str]]) -> Part:
    """Class numbers as the names of the classes."""
    schema = part.frame.collect_schema()
    names = [
        pl.col(name).replace_strict(dict(enumerate(words)), default=None, return_dtype=pl.String)
        for name, words in classes.items()
        if name in schema and schema[name].is_integer()
    ]
    return Part(part.path, part.frame.with_columns(names), part.by_column)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PolytaskError(f"cannot read {path}, which a saved data set needs: {error}") from error
    return found if isinstance(found, dict) else {}
