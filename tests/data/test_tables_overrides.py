"""The YAML file about a table's columns."""

from pathlib import Path

import polars as pl
import pytest

from polytask.data.tables import CATEGORY, DROP, MISSING, NUMBER, Overrides, prepare
from polytask.errors import PolytaskError


def write(folder: Path, text: str) -> Path:
    (folder / "table.yaml").write_text(text)
    return folder / "table.yaml"


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = """
columns:
  age: number
  "no": category      # stays a word
  2020: drop
targets: [income:binary, tags=a+b:multilabel]
group: patient
split: fold
missing: ["?", -9]
"""
    assert Overrides.read(write(tmp_path, text)) == Overrides(
        columns={"age": NUMBER, "no": CATEGORY, "2020": DROP},
        targets=("income:binary", "tags=a+b:multilabel"),
        group="patient",
        split="fold",
        missing=("?", "-9"),
    )


def test_nothing_need_be_said(tmp_path: Path) -> None:
    assert Overrides.read(write(tmp_path, "")) == Overrides(missing=MISSING)


@pytest.mark.parametrize(
    "text, message",
    [
        ("columns: {}\ncolums: {age: number}\n", "line 2, column 1: unknown entry 'colums': did you mean 'columns'"),
        ("columns:\n  age: numbr\n", "line 2, column 8: column 'age' cannot be a 'numbr': did you mean 'number'"),
        ("columns:\n  age: number\n  age: drop\n", "line 3, column 3: 'age' is there twice"),
        ("columns: [age]\n", "line 1, column 10: columns must hold entries"),
        ("group: [a, b]\n", "line 1, column 8: expected a word"),
        ("- age\n", "line 1, column 1: the file must hold entries"),
        ("columns: {age\n", "is not YAML: line 2, column 1: expected ',' or '}', but got '<stream end>'$"),
        ("columns:\n\tage: number\n", "is not YAML: line 2, column 1: use spaces, not tabs$"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        Overrides.read(write(tmp_path, text))


def test_an_unknown_column_is_told_with_its_line(tmp_path: Path) -> None:
    overrides = Overrides.read(write(tmp_path, "columns:\n  aeg: number\n"))
    with pytest.raises(PolytaskError, match="line 2, column 3: the table has no column 'aeg': did you mean 'age'"):
        overrides.check(["age", "job"])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PolytaskError, match="no YAML file"):
        Overrides.read(tmp_path / "none.yaml")


def test_targets_can_be_auxiliary_important_and_have_units(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [k * 1.5 for k in range(300)], "y": [k % 7 for k in range(300)], "z": [0, 1, 1] * 100})
    file = tmp_path / "table.yaml"
    file.write_text("targets: [y:regression, z:binary]\nauxiliary: [y]\nimportance: {z: 2.5}\nunits: {y: kg}\n")
    first, second = prepare(frame, overrides=Overrides.read(file)).tasks
    assert (first.auxiliary, first.importance, first.unit) == (True, 1.0, "kg")
    assert (second.auxiliary, second.importance, second.unit) == (False, 2.5, "")
    for wrong, told in {
        "targets: [z:binary]\nauxiliary: [yy]\n": "'yy' under 'auxiliary' is no target",
        "targets: [z:binary]\nimportance: {z: much}\n": "line 2, column 17: expected a number for 'z', got 'much'",
        "targets: [z:binary]\nimportance: {z: -1}\n": "importance of task 'z' must be a positive number",
    }.items():
        file.write_text(wrong)
        with pytest.raises(PolytaskError, match=told):
            prepare(frame, overrides=Overrides.read(file))
