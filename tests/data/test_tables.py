"""Tables: what is inferred, what is learned, what is refused."""

import json
from pathlib import Path

import polars as pl
import pytest
import torch

from polytask.data.tables import (
    CATEGORY,
    DATE,
    DROP,
    KINDS,
    NUMBER,
    Overrides,
    TablePreprocessing,
    infer,
    mark_missing,
    prepare,
    read_table,
)
from polytask.errors import PolytaskError

ROWS = 400


def people(rows: int = ROWS, **changed: object) -> pl.DataFrame:
    """A table with a column of every sort."""
    columns: dict[str, object] = {
        "id": [f"person {k}" for k in range(rows)],
        "row": list(range(rows)),
        "age": [20 + k * 7 % 53 for k in range(rows)],
        "height": [None if k % 10 == 0 else 1.5 + k * 13 % 71 / 100 for k in range(rows)],
        "job": [("cook", "nurse", "smith", None)[k * 5 % 7 % 4] for k in range(rows)],
        "born": [f"19{50 + k % 40}-0{1 + k % 9}-1{k % 7}" for k in range(rows)],
        "insured": [k % 3 == 0 for k in range(rows)],
        "planet": ["earth"] * rows,
        "void": [None] * rows,
        "rich": [("no", "yes")[k * 11 % 13 % 2] for k in range(rows)],
        "hours": [30.0 + k * 17 % 23 for k in range(rows)],
    }
    return pl.DataFrame(columns | changed)


TARGETS = ("rich:binary", "hours:regression")


def kinds(frame: pl.DataFrame) -> dict[str, object]:
    return {column.name: column.kind for column in infer(mark_missing(frame))[1].columns}


# --- inference --------------------------------------------------------------------------------------------


def test_every_sort_of_column_is_taken_for_what_it_is() -> None:
    assert kinds(people().drop("rich", "hours")) == {
        "id": DROP,
        "row": DROP,
        "age": NUMBER,
        "height": NUMBER,
        "job": CATEGORY,
        "born": DATE,
        "insured": KINDS["boolean"],
        "planet": DROP,
        "void": DROP,
    }


def test_the_schema_prints_every_decision_with_its_reason() -> None:
    shown = str(prepare(people(), TARGETS).schema)
    for words in (
        "an identifier or free text",
        "one value only: earth",
        "no value at all",
        "counts the rows",
        "dates become numbers",
        "10 %",
        "target binary",
    ):
        assert words in shown


@pytest.mark.parametrize("dtype", [pl.Categorical(), pl.Enum(["cook", "nurse", "1", "2", "7"])])
def test_categorical_columns_are_text(dtype: pl.DataType) -> None:
    text = pl.DataFrame({"job": ["cook", "nurse", None, "cook"], "code": ["1", "2", "2", "7"], "rich": ["1", "2"] * 2})
    for uses in ({}, {"rich": "target binary"}):
        cells, schema = infer(text.cast(dtype), uses=uses)
        expected, described = infer(text, uses=uses)
        assert cells.equals(expected) and cells.schema == expected.schema and schema == described
    assert [column.kind for column in schema.columns] == [CATEGORY, NUMBER, DROP]


def test_text_that_is_nearly_all_numbers_is_told() -> None:
    frame = pl.DataFrame({"price": [*map(str, range(40)), "free"] * 3, "x": [1.5, 2.5, 3.5] * 41})
    column = infer(frame)[1].columns[0]
    assert column.kind is CATEGORY
    assert "such as 'free'" in column.reason


@pytest.mark.parametrize("marker", ["?", "NA", "null", "NaN", "", " ? "])
def test_missing_markers_are_missing(marker: str) -> None:
    frame = mark_missing(pl.DataFrame({"a": ["1", marker, "3"]}))
    assert frame["a"].to_list() == ["1", None, "3"]


def test_nan_and_infinity_are_missing() -> None:
    frame = mark_missing(pl.DataFrame({"a": [1.0, float("nan"), float("inf")]}))
    assert frame["a"].to_list() == [1.0, None, None]


def test_a_number_may_mean_missing(tmp_path: Path) -> None:
    people().with_columns(age=pl.Series([-9, *people()["age"][1:]])).write_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", missing=["-9"])["age"][0] is None


# --- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_and_parquet_give_the_same_tensors(tmp_path: Path, separator: str) -> None:
    frame = people()
    frame.write_csv(tmp_path / "t.csv", separator=separator)
    frame.with_columns(pl.col("born").str.to_date()).write_parquet(tmp_path / "t.parquet")
    ours, theirs = (prepare(read_table(tmp_path / name), TARGETS) for name in ("t.csv", "t.parquet"))
    for split in ours.splits:
        assert ours.splits[split].fingerprint() == theirs.splits[split].fingerprint()


def test_codes_keep_their_zeros_when_declared_a_category(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("zip,x\n" + "\n".join(f"0{k % 3},{k % 17}.5" for k in range(60)))
    frame = read_table(tmp_path / "t.csv", text=["zip"])
    assert frame["zip"][0] == "00"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty"),
        ("a,b\n", "holds no rows"),
        ("a,a\n1,2\n", "two columns named 'a'"),
        ("a,b\n1,2\n1,2,3\n", "as many cells in every line"),
    ],
)
def test_broken_csv_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(PolytaskError, match=message):
        read_table(tmp_path / "t.csv")


def test_a_file_that_is_not_there_or_not_parquet(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a\n1\n")
    with pytest.raises(PolytaskError, match=r"did you mean 'data\.csv'"):
        read_table(tmp_path / "dota.csv")
    (tmp_path / "t.parquet").write_text("no")
    with pytest.raises(PolytaskError, match="cannot read"):
        read_table(tmp_path / "t.parquet")


# --- preprocessing ----------------------------------------------------------------------------------------


def test_inputs_are_finite_standardised_and_never_hold_a_target() -> None:
    prepared = prepare(people(), TARGETS)
    numbers = prepared.splits["train"].inputs["numbers"]
    names = prepared.preprocessing.features
    assert numbers.dtype == torch.float32
    assert numbers.shape[1] == len(names)
    assert bool(torch.isfinite(numbers).all())
    age = numbers[:, names.index("age")]
    assert age.mean().item() == pytest.approx(0, abs=1e-5)
    assert age.std(correction=0).item() == pytest.approx(1, abs=1e-4)
    assert "height is missing" in names
    assert not {"rich", "hours", "row", "planet"} & {name.split(":")[0] for name in names}


def test_a_changed_test_row_changes_nothing_that_was_learned() -> None:
    split = ["train"] * 250 + ["validation"] * 75 + ["test"] * 75
    frame = people(fold=split)
    wild = {"age": 999, "height": 50.0, "job": "astronaut", "hours": 9999.0}
    last = pl.arange(0, ROWS) == ROWS - 1
    changed = frame.with_columns(
        pl.when(last).then(pl.lit(value)).otherwise(pl.col(name)).alias(name) for name, value in wild.items()
    )
    ours, theirs = (prepare(each, TARGETS, Overrides(split="fold")) for each in (frame, changed))
    assert ours.preprocessing == theirs.preprocessing
    assert ours.tasks == theirs.tasks
    assert ours.splits["train"].fingerprint() == theirs.splits["train"].fingerprint()
    assert ours.splits["test"].fingerprint() != theirs.splits["test"].fingerprint()


def test_preprocessing_travels_as_json_and_reads_new_tables(tmp_path: Path) -> None:
    prepared = prepare(people(), TARGETS)
    travelled = TablePreprocessing.from_json(json.loads(json.dumps(prepared.preprocessing.to_json())))
    assert travelled == prepared.preprocessing
    new = (
        people(3)
        .select("void", "insured", "born", "job", "height", "age")
        .with_columns(job=pl.Series(["nurse", "pilot", None]))
    )
    new.write_csv(tmp_path / "new.csv")
    inputs = travelled.read(tmp_path / "new.csv")
    assert inputs["categories"][1:].tolist() == [[0], [0]]
    assert inputs["categories"][0].item() > 0
    assert torch.equal(inputs["numbers"], travelled.transform(new)["numbers"])


def test_new_tables_that_do_not_fit_are_refused() -> None:
    fitted = prepare(people(), TARGETS).preprocessing
    with pytest.raises(PolytaskError, match="lacks 1 of the 5 columns"):
        fitted.transform(people(5).drop("age"))
    with pytest.raises(PolytaskError, match=r"column 'age' was to hold numbers, and row 2 .* holds 'old'"):
        fitted.transform(people(3).with_columns(age=pl.Series(["31", "old", "33"])))
    with pytest.raises(PolytaskError, match="version 99"):
        TablePreprocessing.from_json(fitted.to_json() | {"version": 99})


def test_wild_values_end_at_ten_deviations() -> None:
    fitted = prepare(people(), TARGETS).preprocessing
    inputs = fitted.transform(people(1).with_columns(age=pl.lit(1e9)))
    assert inputs["numbers"][0, fitted.features.index("age")] == 10


# --- splits -----------------------------------------------------------------------------------------------


def test_rows_with_the_same_inputs_share_a_split() -> None:
    frame = people().drop("id", "row")
    doubled = prepare(pl.concat([frame, frame]), TARGETS)
    seen = [
        {tuple(row) for row in torch.cat([data.inputs["numbers"], data.inputs["categories"]], 1).tolist()}
        for data in doubled.splits.values()
    ]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert any("repeat the inputs" in note for note in doubled.notes)


def test_groups_stay_together_and_are_no_input() -> None:
    frame = people(clinic=[f"clinic {k % 40}" for k in range(ROWS)])
    prepared = prepare(frame, TARGETS, Overrides(group="clinic", columns={"row": NUMBER}))
    fitted = prepared.preprocessing
    at = fitted.features.index("row")
    row = next(encoder for encoder in fitted.encoders if encoder.name == "row")
    standard = [data.inputs["numbers"][:, at] for data in prepared.splits.values()]
    clinics = [{round(each) % 40 for each in (x * row.deviation + row.mean).tolist()} for x in standard]
    assert sum(map(len, clinics)) == 40
    assert "clinic" not in fitted.categories


def test_the_split_hangs_on_the_seed_alone() -> None:
    first, again, other = (prepare(people(), TARGETS, seed=seed) for seed in (1, 1, 2))
    assert first.splits["test"].fingerprint() == again.splits["test"].fingerprint()
    assert first.splits["test"].fingerprint() != other.splits["test"].fingerprint()


def test_a_given_split_without_validation_takes_it_from_train() -> None:
    frame = people(fold=["Train"] * 300 + ["test"] * 100)
    splits = prepare(frame, TARGETS, Overrides(split="fold")).splits
    assert len(splits["test"]) == 100
    assert 30 <= len(splits["validation"]) <= 60


# --- targets ----------------------------------------------------------------------------------------------


def test_missing_labels_are_marked_and_classes_are_named() -> None:
    frame = people().with_columns(
        rich=pl.when(pl.arange(0, ROWS) % 4 > 0).then("rich"),
        hours=pl.when(pl.arange(0, ROWS) % 5 > 0).then("hours"),
    )
    prepared = prepare(frame, [*TARGETS, "job:multiclass"])
    labelled = {name: sum(data.counts()[name] for data in prepared.splits.values()) for name in ("rich", "hours")}
    assert labelled == {"rich": 300, "hours": 320}
    assert prepared.tasks[0].labels == ("no", "yes")
    assert prepared.tasks[2].labels == ("cook", "nurse", "smith")


def test_several_columns_make_one_multilabel_task() -> None:
    frame = people(a=[k % 2 for k in range(ROWS)], b=[k * 7 % 5 % 2 for k in range(ROWS)])
    prepared = prepare(frame, ["tags=a+b:multilabel"])
    assert prepared.splits["train"].targets["tags"].shape[1] == 2
    assert not {"a", "b"} & set(prepared.preprocessing.features)


def test_kinds_of_targets_are_guessed_and_told() -> None:
    prepared = prepare(people(), ["rich", "hours", "job"])
    assert [type(task).__name__ for task in prepared.tasks] == ["Binary", "Regression", "MultiClass"]
    assert sum("was taken for" in note for note in prepared.notes) == 3


@pytest.mark.parametrize("copy", ["rich", "hours"])
def test_an_input_that_tells_a_target_is_told(copy: str) -> None:
    codes = {"rich": pl.col("rich").replace({"no": "A", "yes": "B"}), "hours": pl.col("hours") * 60 + 1}
    prepared = prepare(people().with_columns(codes[copy].alias("leak")), TARGETS)
    assert [note for note in prepared.notes if f"'leak' tells target '{copy}' exactly" in note]


def test_a_class_that_no_training_row_has_is_told() -> None:
    fold = ["train"] * 250 + ["validation"] * 75 + ["test"] * 75
    jobs = ["cook", "nurse"] * 199 + ["spy"] * 2
    prepared = prepare(people(fold=fold, job=jobs), ["job:multiclass"], Overrides(split="fold"))
    assert any("no train row has class spy" in note for note in prepared.notes)


def test_small_splits_are_told() -> None:
    assert any("mostly chance" in note for note in prepare(people(), TARGETS).notes)


# --- bad input --------------------------------------------------------------------------------------------

FOLDS = ["train"] * 250 + ["validation"] * 75 + ["test"] * 75


@pytest.mark.parametrize(
    "changed, targets, said, message",
    [
        ({}, ["ritch:binary"], {}, "no target column 'ritch': did you mean 'rich'"),
        ({}, ["rich:binry"], {}, "no kind of target 'binry' .*did you mean 'binary'"),
        ({}, [], {}, "no target is named"),
        ({}, ["rich", "rich"], {}, "named twice"),
        ({}, ["planet:binary"], {}, "one value only .earth."),
        ({}, ["void:regression"], {}, "no label at all"),
        ({}, ["job:binary"], {}, "was to be binary and has 3 different values"),
        ({}, ["id:multiclass"], {}, "400 different values"),
        ({}, ["job:regression"], {}, "'job' was to hold numbers, and row . .* holds 'cook'"),
        ({}, ["tags=rich+insured:binary"], {}, "joins 2 columns"),
        ({}, TARGETS, {"columns": {"job": NUMBER}}, "'job' was to hold numbers, and row 1 .*mend the cells"),
        ({}, TARGETS, {"columns": {"job": DATE}}, "dates such as 2024-03-31"),
        ({}, TARGETS, {"columns": {"jobb": NUMBER}}, "no column 'jobb': did you mean 'job'"),
        ({}, TARGETS, {"group": "clinik"}, "no column 'clinik'"),
        ({}, TARGETS, {"group": "rich"}, "cannot be a target and the group"),
        (
            {},
            TARGETS,
            {"columns": dict.fromkeys(["age", "height", "job", "born", "insured"], DROP)},
            "no input column",
        ),
        ({"fold": ["train"] * 400}, TARGETS, {"split": "fold"}, "the test split is empty"),
        ({"fold": ["trian"] * 400}, TARGETS, {"split": "fold"}, "did you mean 'train'"),
        ({"fold": ["test"] * 400}, TARGETS, {"split": "fold"}, "no row to train on"),
        (
            {"fold": FOLDS, "rich": ["no", "yes"] * 125 + ["no"] * 75 + ["no", "yes"] * 37 + ["no"]},
            TARGETS,
            {"split": "fold"},
            "the validation split is too small for task 'rich': all 75 labels",
        ),
        (
            {"fold": FOLDS, "hours": [float(k) for k in range(250)] + [None] * 75 + [1.0, 2.0, 3.0] * 25},
            TARGETS,
            {"split": "fold"},
            "task 'hours' has no label in the validation split",
        ),
    ],
)
def test_bad_input_is_refused_clearly(changed: dict, targets: list, said: dict, message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        prepare(people(**changed), targets, Overrides(**said))


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(PolytaskError, match=r"too small|would be empty|too few"):
        prepare(people(6), TARGETS)


def test_nan_features_and_constant_columns_do_no_harm() -> None:
    frame = people(age=[float("nan") if k % 3 else float(k) for k in range(ROWS)])
    numbers = prepare(mark_missing(frame), TARGETS).splits["train"].inputs["numbers"]
    assert bool(torch.isfinite(numbers).all())


def test_a_column_constant_in_the_training_rows_is_left_out() -> None:
    frame = people(fold=FOLDS, age=[1] * 250 + list(range(150)))
    prepared = prepare(frame, TARGETS, Overrides(split="fold"))
    assert "age" not in prepared.preprocessing.features
    assert any("column 'age' is left out" in note for note in prepared.notes)


def test_a_number_or_nothing_is_an_input() -> None:
    frame = people(
        flag=[1.0 if k % 3 else None for k in range(ROWS)], mark=["x" if k % 5 else None for k in range(ROWS)]
    )
    fitted = prepare(frame, TARGETS).preprocessing
    assert "flag is missing" in fitted.features
    inputs = fitted.transform(frame.head(6))
    assert inputs["numbers"][:, fitted.features.index("flag is missing")].tolist() == [1, 0, 0, 1, 0, 0]
    assert inputs["categories"][:, fitted.categories.index("mark")].tolist() == [0, 1, 1, 1, 1, 0]


def test_dates_become_the_trend_and_the_place_in_year_and_week() -> None:
    fitted = prepare(people(), TARGETS).preprocessing
    born = [name for name in fitted.features if name.startswith("born")]
    assert born == [
        "born: days",
        *(f"born: {part} {wave}" for part in ("yearly", "weekly") for wave in ("sine", "cosine")),
    ]
    moments = pl.Series([5 * k for k in range(ROWS)]) * 3_600_000_000
    timed = people(seen=moments.cast(pl.Datetime("us")))
    assert "seen: daily sine" in prepare(timed, TARGETS).preprocessing.features
