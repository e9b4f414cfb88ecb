"""`polytask init`: a YAML file with what was guessed and why, which then stands for the table."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml

from polytask.data.tables import Overrides, prepare, read_table
from polytask.problems import table

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A table whose names and values YAML would misread."""
    rows = range(200)
    frame = pl.DataFrame(
        {
            "no": [("yes", "off")[k % 2] for k in rows],
            "a: b": [k % 7 for k in rows],
            "# c": [f"this is the long note of patient {k}" for k in rows],
            "2020": [k * 0.5 for k in rows],
            "id": [f"x{k}" for k in rows],
            "grade": [k % 4 for k in rows],
            "fold": [("train", "train", "valid", "test")[k % 4] for k in rows],
            "is label": [(k * 7) % 5 % 2 for k in rows],
        }
    )
    frame.write_parquet(tmp_path / "odd.parquet")
    return tmp_path / "odd.parquet"


def test_it_says_what_was_guessed_and_why_and_the_file_stands_for_the_table(run: Run, odd: Path) -> None:
    code, out, err = run("init", odd)
    assert (code, err) == (0, "")
    file = odd.with_suffix(".yaml")
    text = file.read_text()
    assert text in out and f"polytask compare {file}" in out
    for why in ("different texts", "identifier", "8 words on average", "codes, write category", "guessed by the name"):
        assert why in text
    said = Overrides.read(file)
    assert (said.targets, said.split, said.table) == (("is label:binary",), "fold", odd.parent / "odd.parquet")
    assert {name: str(kind) for name, kind in said.columns.items()} == {
        "no": "category",
        "a: b": "number",
        "# c": "text",
        "2020": "number",
        "id": "drop",
        "grade": "number",
    }
    ours, theirs = table(file), prepare(read_table(odd), ["is label"], Overrides(split="fold"))
    assert ours.fingerprint() == {name: data.fingerprint() for name, data in theirs.splits.items()}


def test_targets_can_be_named_and_their_kinds_are_guessed(run: Run, people: Path, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "about.yaml"
    assert run("init", people, "--target", "rich", "--target", "hours:regression", "--out", file)[0] == 0
    said = yaml.safe_load(file.read_text())
    assert said["targets"] == ["rich:binary", "hours:regression"]
    assert [task.name for task in table(file).tasks] == ["rich", "hours"]


def test_a_file_that_is_there_is_left_alone(run: Run, people: Path, tmp_path: Path) -> None:
    file = tmp_path / "about.yaml"
    file.write_text("targets: [rich]\n")
    code, _, err = run("init", people, "--out", file)
    assert code == 2 and "--force" in err and file.read_text() == "targets: [rich]\n"
    assert run("init", people, "--out", file, "--force")[0] == 0
    assert "columns:" in file.read_text()


@pytest.mark.parametrize(
    "words, told",
    [
        ("init {people} --target rih", "did you mean 'rich'"),
        ("init nothere.csv", "no table at nothere.csv"),
        ("init {people} --out about.txt", "ends in .yaml"),
        ("compare {names_none}", "names no table"),
        (
            "compare {people} --schema {typo}",
            "line 3, column 8: column 'job' cannot be a 'categry': did you mean 'category'",
        ),
        (
            "compare {people} --schema {trunk}",
            "line 2, column 1: trunk: there is no part 'Wrods'; did you mean 'Words'",
        ),
        ("compare {people} --schema {setting}", "line 2, column 23: column 'age': number has no setting 'size'"),
        ("compare {people} --schema {target}", "line 1, column 11: no kind of target 'binry' (in 'rich:binry')"),
    ],
)
def test_mistakes_are_one_line_that_helps(
    run: Run, words: str, told: str, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = {
        "names_none": "targets: [rich]\n",
        "typo": "targets: [rich]\ncolumns:\n  job: categry\n",
        "trunk": "targets: [rich]\ntrunk: {parts: {job: Wrods()}}\n",
        "setting": "columns:\n  age: {kind: number, size: 3}\n",
        "target": "targets: [rich:binry]\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    files = {name: f"{name}.yaml" for name in texts}
    code, _, err = run(*words.format(people=people, **files).split())
    assert code == 2 and len(err.splitlines()) == 1
    assert told in err
