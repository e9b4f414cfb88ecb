"""The tours of the README: an own CSV file and an own folder of images, trained on and predicted, on data made here."""

import random
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

Run = Callable[..., tuple[int, str, str]]

README = (Path(__file__).parents[2] / "README.md").read_text()
SMALL = ["--budget.epochs", "8", "--budget.batch_size", "16", "--budget.learning_rate", "0.01"]


def tour(heading: str) -> Iterator[list[str]]:
    """The commands under a heading of the README, without `polytask`."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            assert words[0] == "polytask"
            yield words[1:]


def people(path: Path, rows: int, seed: int) -> pl.DataFrame:
    drawn = random.Random(seed)
    jobs = [drawn.choice(["cook", "nurse", "smith"]) for _ in range(rows)]
    ages = [drawn.randint(18, 70) for _ in range(rows)]
    frame = pl.DataFrame(
        {
            "age": ages,
            "job": jobs,
            "income": ["high" if age + drawn.gauss(0, 5) > 45 else "low" for age in ages],
            "hours": [20 + 0.3 * age + 10 * (job == "cook") for age, job in zip(ages, jobs, strict=True)],
        }
    )
    frame.write_csv(path)
    return frame


def test_the_tour_of_an_own_table(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    people(Path("people.csv"), 300, seed=0)
    new = people(Path("new.csv"), 40, seed=1)
    train, predict = tour("Your own table")
    code, _, err = run(*train, *SMALL)
    assert (code, err) == (0, "")
    code, _, err = run(*predict)
    assert (code, err) == (0, "")
    found = pl.read_csv("predictions.csv")
    assert found.columns == [
        *new.columns,
        "predicted income",
        "predicted income: probability of low",
        "predicted hours",
    ]
    assert (found["predicted income"] == found["income"]).mean() > 0.75
    error = (found["predicted hours"] - found["hours"]).abs().mean()
    assert error < 0.5 * (found["hours"] - found["hours"].mean()).abs().mean()


def pictures(folder: Path, table: str, rows: int, seed: int) -> pl.DataFrame:
    """A folder of small pictures in one of two colours, darker or lighter, and the table that names them."""
    drawn = random.Random(seed)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    lines = []
    for k in range(rows):
        kind, light = drawn.choice(["berry", "leaf"]), drawn.randint(60, 220)
        name = f"pictures/{table}-{k}.png"
        Image.new("RGB", (12, 9), (light, light // 3, 40) if kind == "berry" else (40, light, 60)).save(folder / name)
        lines.append((name, kind, light))
    frame = pl.DataFrame(lines, schema=["photo", "kind", "light"], orient="row")
    frame.write_csv(folder / f"{table}.csv")
    return frame


def test_the_tour_of_an_own_folder_of_images(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(Path("plants"), "labels", 160, seed=0)
    new = pictures(Path("more"), "new", 30, seed=1)
    train, predict = tour("Your own images")
    code, out, err = run(*train, *SMALL)
    assert (code, err) == (0, "")
    assert "names of picture files" in " ".join(out.split())
    code, _, err = run(*predict)
    assert (code, err) == (0, "")
    found = pl.read_csv("plants.csv")
    assert found["photo"].to_list() == new["photo"].to_list()
    assert (found["predicted kind"] == found["kind"]).mean() > 0.9
    error = (found["predicted light"] - found["light"]).abs().mean()
    assert error < 0.5 * (found["light"] - found["light"].mean()).abs().mean()


# --- what new rows may be like ---------------------------------------------------------------------------------------

FEW = ["--budget.epochs", "1", "--budget.batch_size", "64"]


@pytest.fixture(scope="module")
def plants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images with a table, and the run of a network that reads image and text."""
    folder = tmp_path_factory.mktemp("plants")
    frame = pictures(folder, "labels", 120, seed=2)
    notes = pl.Series([f"seen on day {k} near the old {('mill', 'oak')[k % 2]}" for k in range(120)])
    frame.with_columns(note=notes).write_csv(folder / "labels.csv")
    return folder


@pytest.fixture(scope="module")
def plants_run(plants: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from polytask.cli import main

    run = tmp_path_factory.mktemp("runs") / "plants"
    words = ["train", plants / "labels.csv", "--target", "kind", "--target", "light:regression", *FEW, "--out", run]
    assert main([str(word) for word in words]) == 0
    return run


def test_rows_whose_picture_does_not_open_are_told_and_have_no_prediction(
    run: Run, plants: Path, plants_run: Path, tmp_path: Path
) -> None:
    (plants / "broken.png").write_text("no picture")
    rows = [("pictures/labels-1.png", "a note"), ("broken.png", ""), ("gone.png", None), (None, "the mill")]
    pl.DataFrame(rows, schema=["photo", "note"], orient="row").write_csv(plants / "new.csv")
    code, out, err = run("predict", plants_run, plants / "new.csv", "--out", tmp_path / "out.parquet")
    assert (code, err) == (0, "")
    told = " ".join(out.split())
    assert "broken.png can't be read" in told and "gone.png can't be read: No such file" in told
    assert "row 4 (the header not counted) has no picture in column 'photo'" in told
    assert "3 rows without a prediction" in told
    assert "column 'note': 2 of 4 texts are empty" in told
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found["photo"].to_list() == [each for each, _ in rows], "the table itself is as it was"
    for name in (each for each in found.columns if each.startswith("predicted ")):
        assert found[name].is_null().to_list() == [False, True, True, True], name


def test_tables_that_do_not_fit_are_refused_and_columns_too_many_are_told(
    run: Run, plants: Path, plants_run: Path, tmp_path: Path
) -> None:
    few = pl.read_csv(plants / "labels.csv").head(3)
    few.with_columns(colour=pl.lit("red")).write_csv(plants / "more.csv")
    code, out, _ = run("predict", plants_run, plants / "more.csv", "--out", tmp_path / "out.csv")
    assert code == 0 and "no such column: colour" in " ".join(out.split()), "targets are known, and not told"
    few.rename({"note": "notes"}).write_csv(plants / "less.csv")
    code, _, err = run("predict", plants_run, plants / "less.csv", "--out", tmp_path / "less.csv")
    assert code == 2 and "lacks 1 of the 2 columns" in err
    assert "did you mean 'notes'" in err and "columns that the training table did not have: notes" in err
    code, _, err = run("predict", plants_run, plants / "pictures", "--out", tmp_path / "folder.csv")
    assert code == 2 and "give predict a table with these columns" in err


def test_a_folder_of_pictures_is_enough_for_a_network_of_pictures(run: Run, plants: Path, tmp_path: Path) -> None:
    about = "table: labels.csv\ntargets: [kind:binary]\nclasses: {kind: [leaf, berry]}\n"
    columns = "columns: {note: drop, light: drop, photo: {kind: image, size: 8}}\n"
    (plants / "about.yaml").write_text(about + columns)
    assert run("train", plants / "about.yaml", *FEW, "--out", tmp_path / "run")[0] == 0
    code, _, err = run("predict", tmp_path / "run", plants / "pictures", "--out", tmp_path / "out.csv")
    assert (code, err) == (0, "")
    found = pl.read_csv(tmp_path / "out.csv")
    assert found.height == 120 and "predicted kind: probability of berry" in found.columns


def test_pictures_of_a_folder_go_before_tables_in_it(run: Run, plants: Path, tmp_path: Path) -> None:
    about = "table: labels.csv\ntargets: [kind:binary]\ncolumns: {note: drop, light: drop}\n"
    (plants / "about.yaml").write_text(about)
    assert run("train", plants / "about.yaml", *FEW, "--out", tmp_path / "run")[0] == 0
    folder = shutil.copytree(plants / "pictures", tmp_path / "new")
    (folder / "notes.txt").write_text("taken in spring\nwith rain\n")
    (folder / "other.csv").write_text("photo,note\nnone.png,x\n")
    code, out, err = run("predict", tmp_path / "run", folder, "--out", tmp_path / "out.csv")
    assert (code, err) == (0, "")
    found = pl.read_csv(tmp_path / "out.csv")
    assert found["photo"].to_list() == sorted(path.name for path in folder.iterdir() if path.suffix == ".png")
    assert "not read: notes.txt, other.csv" in " ".join(out.split())
    shutil.copytree(plants / "pictures", tmp_path / "rows" / "pictures")
    shutil.copy(plants / "labels.csv", tmp_path / "rows")
    code, out, err = run("predict", tmp_path / "run", tmp_path / "rows", "--out", tmp_path / "rows.csv")
    assert (code, err) == (0, ""), "without pictures, the folder is its table"
    assert "not read" not in out and "note" in pl.read_csv(tmp_path / "rows.csv").columns


def test_cells_without_a_picture_are_told(run: Run, plants: Path, tmp_path: Path) -> None:
    about = "table: TABLE.csv\ntargets: [kind:binary]\ncolumns: {note: drop, light: drop}\n"
    labels = pl.read_csv(plants / "labels.csv")
    gone = pl.int_range(pl.len()) % 7 == 3
    labels.with_columns(pl.when(~gone).then("photo")).write_csv(plants / "gaps.csv")
    for name in ("labels", "gaps"):
        (plants / f"{name}.yaml").write_text(about.replace("TABLE", name))
        assert run("train", plants / f"{name}.yaml", *FEW, "--out", tmp_path / name)[0] == 0
    new = labels.head(4).select(photo=pl.when(pl.int_range(pl.len()) != 2).then("photo"), light="light")
    new.write_csv(plants / "new.csv")
    words = ["predict", tmp_path / "labels", plants / "new.csv", "--out", tmp_path / "out.csv"]
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    told = " ".join(out.split())
    assert "row 3 (the header not counted) has no picture in column 'photo'" in told
    assert "1 row without a prediction" in told
    assert pl.read_csv(tmp_path / "out.csv")["predicted kind"].is_null().to_list() == [False, False, True, False]
    code, out, err = run("predict", tmp_path / "gaps", plants / "new.csv", "--out", tmp_path / "out.csv")
    assert (code, err) == (0, "")
    assert "no picture in 1 of 4 rows, which the network copes with" in " ".join(out.split())
    assert pl.read_csv(tmp_path / "out.csv")["predicted kind"].null_count() == 0
    new.with_columns(photo=pl.lit("")).write_csv(plants / "new.csv")
    code, _, err = run(*words)
    assert code == 2 and "no row can be predicted: row 1 (the header not counted) has no picture" in err


def test_rows_that_are_predicted_without_their_picture_are_named_and_counted(
    run: Run, plants: Path, tmp_path: Path
) -> None:
    """Where unreadable pictures count as missing, nothing else would tell that a network saw none."""
    (plants / "cut.png").write_text("no picture")
    labels = pl.read_csv(plants / "labels.csv")
    labels.with_columns(photo=pl.Series(["cut.png", *labels["photo"][1:]])).write_csv(plants / "lenient.csv")
    (plants / "lenient.yaml").write_text(
        "table: lenient.csv\ntargets: [kind:binary]\n"
        "columns: {note: drop, light: drop, photo: {kind: image, size: 8, unreadable: missing}}\n"
    )
    noted = "column 'photo': 1 of 120 pictures can't be read and count as missing"
    assert noted in " ".join(run("describe", plants / "lenient.yaml")[1].split())
    code, out, err = run("train", plants / "lenient.yaml", *FEW, "--out", tmp_path / "run")
    assert (code, err) == (0, "") and noted in " ".join(out.split())

    pl.DataFrame({"photo": ["pictures/labels-1.png", "cut.png", "gone.png"]}).write_csv(plants / "new.csv")
    words = ["predict", tmp_path / "run", plants / "new.csv", "--out", tmp_path / "out.csv"]
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    told = " ".join(out.split())
    assert "Predicted without their picture: 2 rows: " in told
    assert "cut.png can't be read" in told and "gone.png can't be read: No such file" in told
    assert "labels-1.png" not in told
    assert pl.read_csv(tmp_path / "out.csv")["predicted kind"].null_count() == 0

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(plants / "new.csv", elsewhere)
    code, _, err = run("predict", tmp_path / "run", elsewhere / "new.csv", "--out", tmp_path / "none.csv")
    assert code == 2 and f"none of its 3 pictures can be read; they were looked for in {elsewhere}: " in err
    assert not (tmp_path / "none.csv").exists()

    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(plants / "cut.png", folder)
    shutil.copy(plants / "pictures" / "labels-1.png", folder)
    code, out, err = run("predict", tmp_path / "run", folder, "--out", tmp_path / "out.csv")
    assert (code, err) == (0, "") and "Predicted without their picture: 1 row: " in " ".join(out.split())
    shutil.copy(plants / "cut.png", folder / "labels-1.png")
    code, _, err = run("predict", tmp_path / "run", folder, "--out", tmp_path / "out.csv")
    assert code == 2 and f"none of its 2 pictures can be read; they were looked for in {folder}: " in err


def test_a_part_of_ones_own_is_trained_kept_and_opened_only_when_trusted(
    run: Run, plants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    Path("my_notes.py").write_text(
        "from torch import nn\n"
        "class Notes(nn.Module):\n"
        "    def __init__(self, vocabulary, width):\n"
        "        super().__init__()\n"
        "        self.table = nn.Embedding(vocabulary, width)\n"
        "    def forward(self, words):\n"
        "        return self.table(words)\n"
    )
    about = f"table: {plants / 'labels.csv'}\ntargets: [kind:binary, light:regression]\n"
    Path("about.yaml").write_text(about + "trunk: {parts: {note: my_notes.Notes(width=4)}, widths: [8]}\n")
    assert run("train", "about.yaml", *FEW, "--out", "run")[0] == 0
    code, _, err = run("predict", "run", plants / "labels.csv")
    assert code == 2 and "--trust my_notes" in err
    assert run("predict", "run", plants / "labels.csv", "--trust", "my_notes")[0] == 0
    assert run("evaluate", "run", "--trust", "my_notes")[0] == 0
    assert run("export", "run", "--apart", "false", "--trust", "my_notes")[0] == 0
    words = ["--backbone", "Fusion(parts={'note': 'my_notes.Notes(width=3)'}, widths=(5,))", *FEW]
    assert run("train", "about.yaml", *words, "--out", "other")[0] == 0


def test_a_whole_trunk_of_ones_own(run: Run, plants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_trunks.py").write_text(
        "from torch import nn\n"
        "from polytask.sharing import SequentialBackbone\n"
        "class Light(nn.Module):\n"
        "    def forward(self, rows):\n"
        "        return rows['photo'].float().mean((2, 3)) / 255\n"
        "def trunk(width=4):\n"
        "    return SequentialBackbone([nn.Sequential(Light(), nn.Linear(3, width))], [width])\n"
    )
    about = f"table: {plants / 'labels.csv'}\ntargets: [kind:binary, light:regression]\n"
    Path("plain.yaml").write_text(about)
    Path("own.yaml").write_text(about + "trunk: my_trunks.trunk\n")
    assert run("train", "own.yaml", *FEW, "--out", "run")[0] == 0
    code, printed, _ = run("train", "plain.yaml", "--backbone", "my_trunks.trunk(width=2)", "--print_config")
    assert code == 0 and "backbone: my_trunks.trunk(width=2)" in printed
    Path("config.yaml").write_text(printed)
    assert run("train", "--config", "config.yaml", *FEW, "--out", "two")[0] == 0
    assert run("evaluate", "two", "--trust", "my_trunks")[0] == 0
    Path("own.yaml").write_text(about + "trunk: SmallCNN\n")
    code, _, err = run("train", "own.yaml", *FEW, "--out", "three")
    assert code == 2 and "own.yaml, line 3, column 1: trunk: expected one of your own" in err
