"""Columns of text, images and vectors: what is guessed, what is learned, what travels, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from polytask.data.tables import (
    CATEGORY,
    DROP,
    IMAGE,
    KINDS,
    TEXT,
    VECTOR,
    Overrides,
    TablePreprocessing,
    infer,
    prepare,
)
from polytask.errors import PolytaskError

ROWS = 90
COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200)}


def picture(folder: Path, name: str, colour: tuple[int, int, int], size: tuple[int, int] = (6, 4)) -> str:
    """A picture of one colour; width and height."""
    Image.new("RGB", size, colour).save(folder / name)
    return name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def frame(folder: Path) -> pl.DataFrame:
    """A table with a column of every kind that is an input of its own."""
    rows = range(ROWS)
    tints = [("red", "blue")[k % 2] for k in rows]
    return pl.DataFrame(
        {
            "photo": [picture(folder, f"{k}.png", COLOURS[tint]) if k % 9 else None for k, tint in enumerate(tints)],
            "note": [f"photo number {k} shows the colour {tint}" if k % 8 else "" for k, tint in enumerate(tints)],
            "place": [[float(k % 7), 2.0 * (k % 5), 1.0] if k % 6 else None for k in rows],
            "age": [k % 13 for k in rows],
            "tint": tints,
        }
    )


TARGETS = ["tint:binary"]


# --- what columns are taken for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cells, kind",
    [
        ([f"a{k}.JPG" for k in range(30)], IMAGE),
        ([f"folder/{k}.png" for k in range(3)], IMAGE),
        ([f"this is the review of customer {k}" for k in range(30)], TEXT),
        ([f"person {k}" for k in range(30)], DROP),
        (["a rather long name of a class"] * 20 + ["another rather long name of one"] * 20, CATEGORY),
        ([f"[{k}, 0.5, -1e3]" for k in range(30)], VECTOR),
        ([f"[{k}, b]" for k in range(30)], DROP),
        ([[1.0, k] for k in range(3)], VECTOR),
        ([[1.0] * k for k in range(1, 4)], DROP),
        ([["a"]] * 3, DROP),
        ([b"\x89PNG12345", b"\x89PNG1"], IMAGE),
        ([b"whatever", b"it is"], DROP),
        ([{"bytes": b"\xff\xd8\xff1", "path": "a.jpg"}] * 2, IMAGE),
        ([{"x": 1}] * 2, DROP),
    ],
)
def test_kinds_are_guessed(cells: list[Any], kind: object) -> None:
    assert infer(pl.DataFrame({"a": cells}))[1].columns[0].kind == kind


def test_settings_belong_to_a_kind() -> None:
    assert KINDS["image"].settings == ("size", "unreadable")
    assert KINDS["text"].settings == ("words", "vocabulary", "tokenizer")
    assert KINDS["number"].settings == KINDS["drop"].settings == ()
    with pytest.raises(PolytaskError, match="image has no setting 'sice'; did you mean 'size'"):
        IMAGE.having({"sice": 3})


# --- what is learned, and travels ------------------------------------------------------------------------------------


def test_every_kind_becomes_an_input_of_its_name(frame: pl.DataFrame, folder: Path) -> None:
    prepared = prepare(frame, TARGETS, folder=folder)
    inputs = prepared.splits["train"].inputs
    assert isinstance(inputs, dict)
    forms = {name: (each.dtype, tuple(each.shape[1:])) for name, each in inputs.items()}
    words = {name: each for name, each in forms.items() if name == "note"}
    assert forms | words == {
        "numbers": (torch.float32, (3,)),
        "categories": (torch.int32, (0,)),
        "photo": (torch.uint8, (3, 4, 6)),
        "note": (torch.int32, (7,)),
        "place": (torch.float32, (3,)),
    }
    assert prepared.preprocessing.features == ("photo is missing", "place is missing", "age")


def test_it_travels_as_json_and_reads_a_table_in_another_folder(
    frame: pl.DataFrame, folder: Path, tmp_path: Path
) -> None:
    fitted = prepare(frame, TARGETS, folder=folder).preprocessing
    travelled = TablePreprocessing.from_json(json.loads(json.dumps(fitted.to_json())))
    assert travelled == fitted
    assert str(folder) not in json.dumps(fitted.to_json()), "where the pictures were is no part of it"
    picture(tmp_path, "new.png", (10, 20, 30), size=(12, 8))
    new = pl.DataFrame({"photo": ["new.png"], "note": ["The COLOUR"], "place": ["[1, 2, 3]"], "age": [3]})
    new.write_csv(tmp_path / "new.csv")
    inputs = travelled.read(tmp_path / "new.csv")
    assert inputs["photo"].shape == (1, 3, 4, 6)
    assert inputs["photo"][0, :, 2, 3].tolist() == [10, 20, 30]
    direct = travelled.placed(tmp_path).transform(new)
    assert all(torch.equal(direct[name], each) for name, each in inputs.items())


def test_words_come_from_training_rows_alone(frame: pl.DataFrame, folder: Path) -> None:
    fold = ["train"] * 60 + ["validation"] * 15 + ["test"] * 15
    changed = frame.with_columns(
        fold=pl.Series(fold),
        note=pl.when(pl.arange(0, ROWS) < 60).then("note").otherwise(pl.lit("utterly unheard words")),
    )
    prepared = prepare(changed, TARGETS, Overrides(split="fold"), folder=folder)
    (text,) = (each for each in prepared.preprocessing.encoders if each.name == "note")
    assert not {"utterly", "unheard"} & set(text.vocabulary)
    assert prepared.splits["test"].inputs["note"].unique().tolist() == [0, 1]


def test_settings_are_kept_to(frame: pl.DataFrame, folder: Path) -> None:
    columns = {"photo": IMAGE.having({"size": [5, 3]}), "note": TEXT.having({"words": 2, "vocabulary": 1})}
    inputs = prepare(frame, TARGETS, Overrides(columns=columns), folder=folder).splits["train"].inputs
    assert inputs["photo"].shape[1:] == (3, 5, 3)
    assert inputs["note"].shape[1] == 2
    assert inputs["note"].max() <= 2


def test_large_pictures_are_made_smaller_in_their_own_form(tmp_path: Path) -> None:
    cells = [picture(tmp_path, f"{k}.png", (k, k, k), size=(200, 100)) for k in range(3)]
    assert IMAGE.fit(pl.Series("photo", cells), str(tmp_path)).inputs(pl.Series("photo", cells))["photo"].shape == (
        3, 3, 32, 64,
    )  # fmt: skip


def test_contents_of_pictures_are_read_as_files_are(frame: pl.DataFrame, folder: Path) -> None:
    contents = [None if name is None else (folder / name).read_bytes() for name in frame["photo"]]
    held = prepare(frame.with_columns(photo=pl.Series(contents)), TARGETS).splits["train"].inputs["photo"]
    assert torch.equal(held, prepare(frame, TARGETS, folder=folder).splits["train"].inputs["photo"])


def test_vectors_are_standardised_number_by_number() -> None:
    column = VECTOR.convert(pl.Series("v", ["1 10 5", "3;30;5", None, "[2, nan, 5]"]))
    encoder = VECTOR.fit(column)
    found = encoder.inputs(column)["v"]
    scale = np.sqrt(2 / 3)
    np.testing.assert_allclose(found, [[-1 / scale, -1, 0], [1 / scale, 1, 0], [0, 0, 0], [0, 0, 0]], rtol=1e-6)
    assert encoder.numbers(column).tolist() == [[0], [0], [1], [0]]


def test_a_tokenizer_takes_the_place_of_the_vocabulary(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"good": 0, "bad": 1, "?": 2}, unk_token="?")
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    texts = pl.Series("note", ["good bad film", "", None, "bad"])
    encoder = TEXT.having({"tokenizer": str(tmp_path)}).fit(texts)
    assert encoder.inputs(texts)["note"].tolist() == [[1, 2, 3], [0, 0, 0], [0, 0, 0], [2, 0, 0]]
    again = type(encoder).from_json(
        {k: v for k, v in json.loads(json.dumps(encoder.to_json())).items() if k != "encoder"}
    )
    assert again == encoder and again.size == 4
    with pytest.raises(PolytaskError, match="no tokenizer at"):
        TEXT.having({"tokenizer": str(tmp_path / "none")}).fit(texts)


# --- bad input -------------------------------------------------------------------------------------------------------


def test_pictures_that_do_not_open_are_named_and_counted(frame: pl.DataFrame, folder: Path, tmp_path: Path) -> None:
    (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:40])
    (folder / "text.png").write_text("no picture")
    cells = ["gone.png", "cut.png", "text.png", *frame["photo"][3:]]
    broken = frame.with_columns(photo=pl.Series(cells))
    with pytest.raises(PolytaskError) as told:
        prepare(broken, TARGETS, folder=folder)
    for words in (
        "'photo': 3 of 90 pictures",
        "gone.png can't be read: No such file",
        "cut.png",
        "text.png",
        "Mend them",
    ):
        assert words in str(told.value)
    lenient = Overrides(columns={"photo": IMAGE.having({"unreadable": "missing"})})
    inputs = prepare(broken, TARGETS, lenient, folder=folder)
    black = sum(int((data.inputs["photo"].flatten(1).sum(1) == 0).sum()) for data in inputs.splits.values())
    assert black == 3 + cells.count(None)


@pytest.mark.parametrize(
    "cells, kind, told",
    [
        (["[1, 2]", "[1, 2, 3]"], VECTOR, "the first has 2 numbers, row 2 .* has 3"),
        (["1 2", "1 x"], VECTOR, "row 2 .* holds '1 x'"),
        ([1.0, 2.0], VECTOR, "holds Float64"),
        ([1.0, 2.0], IMAGE, "names of picture files, or pictures as bytes, and holds Float64"),
        ([[1.0]], TEXT, "was to hold text and holds List"),
    ],
)
def test_cells_that_do_not_fit_are_told(cells: list[Any], kind: Any, told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        kind.convert(pl.Series("a", cells))


def test_vectors_of_another_length_do_not_fit_later() -> None:
    encoder = VECTOR.fit(VECTOR.convert(pl.Series("v", ["1 2", "3 4"])))
    with pytest.raises(PolytaskError, match="vectors of 2 numbers, and row 1 holds 3"):
        encoder.inputs(VECTOR.convert(pl.Series("v", ["1 2 3"])))


@pytest.mark.parametrize("name", ["numbers", "categories"])
def test_names_of_the_common_inputs_are_taken(frame: pl.DataFrame, folder: Path, name: str) -> None:
    with pytest.raises(PolytaskError, match=f"can't be called '{name}'"):
        prepare(frame.rename({"note": name}), TARGETS, folder=folder)
    assert prepare(frame.rename({"age": name}), TARGETS, folder=folder)


def test_a_column_of_empty_texts_is_left_out(frame: pl.DataFrame, folder: Path) -> None:
    empty = frame.with_columns(note=pl.lit("").cast(pl.String))
    prepared = prepare(empty, TARGETS, Overrides(columns={"note": TEXT}), folder=folder)
    assert any("column 'note' is left out" in note for note in prepared.notes)


def test_what_new_rows_hold_is_told() -> None:
    frame = pl.DataFrame({"job": ["cook", "nurse"] * 50, "note": [f"a b c d e {k}" for k in range(100)]})
    prepared = prepare(frame.with_columns(y=pl.Series([0, 1, 1, 0] * 25)), ["y:binary"])
    told = prepared.preprocessing.told(
        prepared.preprocessing.converted(pl.DataFrame({"job": ["spy", "cook", None], "note": ["", None, "a"]}))
    )
    assert told == [
        "column 'job': 1 of 3 rows hold a category that the training rows did not teach ('spy'); they count as unknown",
        "column 'note': 2 of 3 texts are empty; they count as no words",
    ]


# --- classes of targets ----------------------------------------------------------------------------------------------

CLASSES = pl.DataFrame(
    {"x": [k * 1.5 for k in range(120)], "y": ["lo", "hi", "hi"] * 40, "z": ["a", "b", "c", "b"] * 30}
)


def test_classes_are_declared_in_their_order() -> None:
    said = Overrides(targets=("y", "z"), classes={"y": ("lo", "hi"), "z": ("c", "b", "a", "rare")})
    first, second = prepare(CLASSES, overrides=said).tasks
    assert first.labels == ("lo", "hi")
    assert second.labels == ("c", "b", "a", "rare")


@pytest.mark.parametrize(
    "classes, told",
    [
        (
            {"y": ("lo", "high")},
            "outside its declared classes: row 2 .* holds 'hi', and 80 of 120 .* did you mean 'high'",
        ),
        ({"z": ("a", "b", "b")}, "must differ"),
        ({"y": ("lo", "hi", "mid")}, "is binary, and 3 classes are declared"),
        ({"x": ("1", "2")}, "'x' under 'classes' is no target"),
    ],
)
def test_labels_outside_the_declared_classes_are_refused(classes: dict[str, tuple[str, ...]], told: str) -> None:
    with pytest.raises(PolytaskError, match=told):
        prepare(CLASSES, overrides=Overrides(targets=("y:binary", "z:multiclass"), classes=classes))
