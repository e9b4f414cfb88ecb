"""How a table's YAML file says how rows are split, and what is told of leaks."""

import random
from pathlib import Path

import polars as pl
import pytest
import torch

from polytask.data.splits import DEFAULT_FRACTIONS
from polytask.data.tables import Overrides, SplitRule, prepare
from polytask.errors import PolytaskError

ROWS = 400
TARGETS = ("rich:binary", "hours:regression")


def visits(**changed: object) -> pl.DataFrame:
    """Two visits of each of 200 patients, on 40 days in no order; 40 visits are of the rich."""
    drawn = random.Random(0)
    rich = ["yes"] * 40 + ["no"] * (ROWS - 40)
    drawn.shuffle(rich)
    columns: dict[str, object] = {
        "age": [20 + k * 7 % 53 + k / 1000 for k in range(ROWS)],
        "patient": [f"p{k // 2}" for k in range(ROWS)],
        "day": [f"2024-0{1 + k % 4}-{1 + k // 4 % 10:02d}" for k in drawn.sample(range(ROWS), ROWS)],
        "rich": rich,
        "hours": [None if k % 4 == 0 else 30.0 + k * 17 % 23 for k in range(ROWS)],
    }
    return pl.DataFrame(columns | changed)


def overrides(tmp_path: Path, text: str) -> Overrides:
    (tmp_path / "visits.yaml").write_text(text)
    return Overrides.read(tmp_path / "visits.yaml")


def ages(frame: pl.DataFrame, said: Overrides) -> dict[str, set[float]]:
    """The ages of the rows of each split, which tell the rows."""
    prepared = prepare(frame, TARGETS, said)
    age = next(each for each in prepared.preprocessing.encoders if each.name == "age")
    at = prepared.preprocessing.features.index("age")
    return {
        name: {round(x * age.deviation + age.mean, 3) for x in data.inputs["numbers"][:, at].tolist()}
        for name, data in prepared.splits.items()
    }


def column(frame: pl.DataFrame, name: str, of: set[float]) -> list:
    rounded = {round(age, 3): value for age, value in zip(frame["age"], frame[name], strict=True)}
    return [rounded[age] for age in of]


# --- how rows are split -----------------------------------------------------------------------------------------------


def test_by_time(tmp_path: Path) -> None:
    frame = visits()
    said = overrides(tmp_path, "split: {time: day, shares: {train: 0.5, validation: 0.25, test: 0.25}}\n")
    assert said.rule == SplitRule(time="day", shares={"train": 0.5, "validation": 0.25, "test": 0.25})
    found = ages(frame.drop("patient"), said)
    days = {name: column(frame, "day", of) for name, of in found.items()}
    assert max(days["train"]) < min(days["validation"])
    assert max(days["validation"]) < min(days["test"])
    assert [len(each) for each in days.values()] == [200, 100, 100]
    assert sorted(day for each in days.values() for day in each) == sorted(frame["day"])


def test_the_time_is_an_input_only_where_that_is_said(tmp_path: Path) -> None:
    hidden = prepare(visits(), TARGETS, overrides(tmp_path, "split: {time: day}"))
    shown = prepare(visits(), TARGETS, overrides(tmp_path, "split: {time: day}\ncolumns: {day: date}"))
    assert not [name for name in hidden.preprocessing.features if "day:" in name]
    assert [name for name in shown.preprocessing.features if "day:" in name]
    assert hidden.splits["test"].fingerprint() != shown.splits["test"].fingerprint()
    assert torch.equal(hidden.splits["test"].targets["rich"], shown.splits["test"].targets["rich"])


@pytest.mark.parametrize("names", ["all", "[rich]", "[rich, hours]"])
def test_stratified_with_groups(tmp_path: Path, names: str) -> None:
    frame = visits()
    found = ages(frame, overrides(tmp_path, f"group: patient\nsplit: {{stratify: {names}}}"))
    patients = [set(column(frame, "patient", of)) for of in found.values()]
    assert not patients[0] & patients[1] | patients[0] & patients[2] | patients[1] & patients[2]
    rich = {name: column(frame, "rich", of).count("yes") for name, of in found.items()}
    assert all(abs(rich[name] - share * 40) <= 1 for name, share in DEFAULT_FRACTIONS.items())


def test_a_given_split_gets_validation_rows_in_the_way_that_is_said(tmp_path: Path) -> None:
    frame = visits(fold=["train"] * 300 + ["test"] * 100)
    found = ages(frame, overrides(tmp_path, "split: {column: fold, stratify: [rich]}"))
    assert {name: len(of) for name, of in found.items()} == {"train": 255, "validation": 45, "test": 100}
    assert column(frame, "rich", found["validation"]).count("yes") in (4, 5)
    by_time = ages(frame, overrides(tmp_path, "split: {column: fold, time: day}"))
    assert max(column(frame, "day", by_time["train"])) < min(column(frame, "day", by_time["validation"]))


def test_rows_without_a_group_stand_alone() -> None:
    frame = visits(patient=[None if k % 2 else "p" + str(k) for k in range(ROWS)])
    sizes = {name: len(data) for name, data in prepare(frame, TARGETS, Overrides(group="patient")).splits.items()}
    assert sizes == {"train": 280, "validation": 60, "test": 60}


# --- leaks ------------------------------------------------------------------------------------------------------------


def warnings(frame: pl.DataFrame, said: Overrides) -> list[str]:
    return [note for note in prepare(frame, TARGETS, said).notes if note.startswith("WARNING")]


FOLDS = ["train"] * 250 + ["validation"] * 75 + ["test"] * 75


def test_nothing_is_told_of_splits_that_do_not_leak(tmp_path: Path) -> None:
    doubled = pl.concat([visits(), visits()])
    assert not warnings(visits(), overrides(tmp_path, "group: patient"))
    assert not warnings(doubled, overrides(tmp_path, "split: {stratify: all}"))
    assert not warnings(doubled, Overrides())
    assert not warnings(visits().drop("patient"), overrides(tmp_path, "split: {time: day}"))


def test_a_group_in_two_splits_is_told(tmp_path: Path) -> None:
    fold = ["train", "train", "train", "test"] * 50 + ["train"] * 100 + ["validation"] * 100
    told = warnings(visits(fold=fold), overrides(tmp_path, "group: patient\nsplit: fold"))
    assert told == [
        "WARNING: 50 of the values of group 'patient' in both train and test (50 of 50 test rows (100 %)): scores "
        "there may not hold for new ones"
    ]


def test_duplicate_rows_in_two_splits_are_told(tmp_path: Path) -> None:
    frame = visits(fold=FOLDS).drop("patient", "day")
    age = frame["age"].to_list()
    age[250:253] = age[0:3]
    age[399] = age[0]
    told = warnings(frame.with_columns(age=pl.Series(age)), overrides(tmp_path, "split: fold"))
    assert [each.split(":")[1] for each in told] == [
        " 3 of 75 validation rows (4.0 %) with exactly the inputs of a train row",
        " 1 of 75 test rows (1.3 %) with exactly the inputs of a train row",
        " 1 of 75 test rows (1.3 %) with exactly the inputs of a validation row",
    ]


def test_duplicates_across_groups_are_told() -> None:
    frame = visits()
    age = [frame["age"][k % 200] for k in range(ROWS)]
    twins = frame.with_columns(age=pl.Series(age)).drop("day")
    assert any("exactly the inputs" in each for each in warnings(twins, Overrides(group="patient")))


def test_test_rows_before_the_last_train_row_are_told(tmp_path: Path) -> None:
    days = [f"2024-01-{1 + k // 20:02d}" for k in range(ROWS)]
    fine = visits(fold=FOLDS, day=days)
    assert not warnings(fine.drop("patient"), overrides(tmp_path, "split: {column: fold, time: day}"))
    mixed = fine.with_columns(day=pl.Series([*days[:249], "2024-01-19", *days[250:]]))
    told = warnings(mixed.drop("patient"), overrides(tmp_path, "split: {column: fold, time: day}"))
    assert [each.split(":")[1] for each in told] == [
        " 75 of 75 validation rows (100 %) before the last train row by 'day'",
        " 35 of 75 test rows (46.7 %) before the last train row by 'day'",
    ]


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, told",
    [
        ("split: {tme: day}", r"line 1.*unknown entry 'tme'.*did you mean 'time'"),
        ("split: {time: dya}", r"line 1.*no column 'dya'.*did you mean 'day'"),
        ("split: {stratify: [rch]}", r"'rch' under 'stratify' is no target.*did you mean 'rich'"),
        ("split: {stratify: [rich], time: day}", r"line 1.*by time or stratified, not both"),
        ("split: {shares: {train: 0.9, test: 0.2}}", r"line 1.*positive numbers for train, validation, test"),
        ("split: {shares: {train: 0.9, validation: 0.2, test: 0.2}}", r"line 1.*sum to 1"),
        ("split: {shares: {train: lots}}", r"line 1.*expected a number for 'train', got 'lots'"),
        ("split: {column: fold, shares: {train: 0.8, validation: 0.1, test: 0.1}}", "decides how large"),
        ("split: {column: fold, stratify: all}", "nothing is left to stratify"),
        ("split: {time: rich}", "cannot be a target and the time column"),
        ("split: {time: holes}", r"'holes' was to give the time of every row.*missing in 2 of 400 rows \(first: row 1"),
        ("split: {time: patient}", r"'patient' was to hold dates"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, told: str) -> None:
    holes = [None, *range(398), None]
    with pytest.raises(PolytaskError, match=told):
        prepare(visits(fold=FOLDS, holes=holes), TARGETS, overrides(tmp_path, text))


def test_labels_in_the_test_split_only_are_refused_with_the_counts_of_all() -> None:
    hours = [None] * 325 + [1.0, 2.0, 3.0] * 25
    with pytest.raises(PolytaskError, match=r"'hours' has no label in the train and validation split .*0 of 250 train"):
        prepare(visits(fold=FOLDS, hours=hours), TARGETS, Overrides(split="fold"))
