"""Fine-tuning on the command line: one run to start from, recipes, and the study of transfer."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from polytask.cli.catalogues import FINE_TUNINGS, Recipe
from polytask.cli.saved import SavedRun
from polytask.training import L2SP, FineTuning, load_tree

Run = Callable[..., tuple[int, str, str]]

DIGITS = "digits(n_train=100)"
SHORT = ["--budget.epochs", "1", "--budget.batch_size", "50"]
TO_RIGHT = ["transfer", DIGITS, "--pretrain", "left", "--target", "right", "--seeds", "1", "--jobs", "1", *SHORT]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on both tasks of the digits."""
    from polytask.cli import main

    folder = tmp_path_factory.mktemp("pretrained") / "run"
    assert main(["train", DIGITS, *SHORT, "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize(
    "said, made",
    [
        ("FineTuning", FineTuning()),
        ("FineTuning(thaw=1, factor=2.6)", FineTuning(thaw=1, factor=2.6)),
        ("FineTuning(freeze=(0, 1))", FineTuning(freeze=(0, 1))),
        ("FineTuning('all', False, freeze='all')", FineTuning(heads=False, freeze="all")),
        ("FineTuning(l2_sp=L2SP(alpha=0.2))", FineTuning(l2_sp=L2SP(alpha=0.2))),
        ("FineTuning(l2_sp='L2SP', adapt_norms=True)", FineTuning(l2_sp=L2SP(), adapt_norms=True)),
    ],
)
def test_recipes_are_made_as_they_are_said_and_can_be_said_again(said: str, made: FineTuning) -> None:
    assert FINE_TUNINGS.make(said) == made
    assert FINE_TUNINGS.make(str(Recipe(made))) == made


def test_a_training_goes_on_from_one_run(run: Run, pretrained: Path, tmp_path: Path) -> None:
    recipe = "FineTuning(freeze='all', l2_sp=L2SP())"
    words = ["train", DIGITS, *SHORT, "--start", pretrained, "--fine-tuning", recipe, "--out", tmp_path / "on"]
    code, out, err = run(*words)
    assert (code, err) == (0, ""), err
    assert "FineTuning(freeze='all', l2_sp=L2SP())" in out
    before, after = (load_tree(folder / "model.safetensors") for folder in (pretrained, tmp_path / "on"))
    trunk = [name for name in before if name.startswith("shared.")]
    assert trunk and all(torch.equal(before[name], after[name]) for name in trunk)
    assert not torch.equal(before["heads.left.weight"], after["heads.left.weight"])
    record = json.loads((tmp_path / "on" / "record.json").read_text())
    assert record["start"]["runs"] == {"left, right": json.loads((pretrained / "record.json").read_text())["key"]}
    assert record["fine_tuning"]["args"]["l2_sp"] == {"class": "L2SP", "args": {"alpha": 0.1, "beta": 0.01}}
    assert run(*words)[0] == 0, "finished: not trained again"
    saved = SavedRun.open(tmp_path / "on")
    assert saved.arm.fine_tuning == FineTuning(freeze="all", l2_sp=L2SP())
    assert run("evaluate", tmp_path / "on")[0] == 0


def test_without_a_recipe_everything_is_loaded_and_learns(run: Run, pretrained: Path, tmp_path: Path) -> None:
    code, out, err = run("train", DIGITS, *SHORT, "--start", pretrained, "--out", tmp_path / "on")
    assert (code, err) == (0, "")
    assert "HardSharing + Equal, FineTuning()" in out
    before, after = (load_tree(folder / "model.safetensors") for folder in (pretrained, tmp_path / "on"))
    assert not any(torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))


@pytest.mark.parametrize(
    "words, message",
    [
        (["--fine-tuning", "FineTuning(thaw=1)"], "--fine-tuning says how to go on from trained weights"),
        (["--start", "RUN", "--fine-tuning", "FineTuning(thaw=1)"], "give at least 4 epochs, or freeze"),
        (["--start", "RUN", "--fine-tuning", "FineTuning(thaws=1)"], "no setting 'thaws'; did you mean 'thaw'"),
        (["--start", "RUN", "--fine-tuning", "FineTuning(load=(7,))"], "load: expected"),
        (["--start", "nowhere"], "there is no record.json in nowhere"),
    ],
)
def test_what_does_not_fit_is_said_before_training(
    run: Run, pretrained: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    told = [str(pretrained) if word == "RUN" else word for word in words]
    code, _, err = run("train", DIGITS, *SHORT, *told, "--out", tmp_path / "on")
    assert code == 2 and re.search(message, err), err
    assert not (tmp_path / "on").exists()


def test_a_study_of_transfer_prints_figures_and_words_and_writes_the_page(run: Run, tmp_path: Path) -> None:
    words = [*TO_RIGHT, "--sizes", "40", "all", "--recipes", "FineTuning(freeze=(0,))", "--out", tmp_path]
    code, out, err = run(*words)
    assert (code, err) == (0, ""), err
    told = " ".join(out.split())
    assert "To train: 7 networks" in told
    assert "then right with 40, 100 labels: from scratch; fine-tuned (freeze=(0,)); together" in told
    assert "gain over from scratch, %" in told and "One seed, no evidence either way" in told
    page = (tmp_path / "report.html").read_text()
    assert "One seed, no evidence either way" in page
    code, again, _ = run(*words)
    assert code == 0 and "(kept from before)" in again
    (tmp_path / "report.html").unlink()
    code, out, err = run("report", tmp_path)
    assert (code, err) == (0, "")
    assert (tmp_path / "report.html").read_text() == page
    told = re.search(r"With 100 labels, the best on validation data: (.+)\.\nChosen network \(seed 0\):", out)
    assert told is not None, out
    run_folder = next(line.split()[2] for line in out.splitlines() if line.startswith("polytask predict "))
    record = json.loads(Path(run_folder, "record.json").read_text())
    assert record["arm"] == f"{told[1]}, 100 labels"
    code, out, err = run("evaluate", tmp_path)
    assert (code, err) == (0, "") and out.startswith(f"Chosen network of {tmp_path} (seed 0): {run_folder}\n")


def test_the_usual_sizes_are_those_that_there_are_labels_for(run: Run, people: Path, tmp_path: Path) -> None:
    words = ["--pretrain", "rich", "--target", "hours:regression", "--recipes", "FineTuning()", "--seeds", "1"]
    code, out, err = run("transfer", people, *words, *SHORT, "--jobs", "1", "--out", tmp_path / "study")
    assert (code, err) == (0, ""), err
    assert "then hours with 100, 210 labels: " in " ".join(out.split()), "1,000 are more than there are"


@pytest.mark.parametrize(
    "words, message",
    [
        (["transfer", DIGITS, "--target", "right"], "--pretrain left --target right; tasks: left, right"),
        ([*TO_RIGHT, "--target", "rigth", "--sizes", "all"], "no task 'rigth' in 'digits'; did you mean 'right'"),
        (
            [*TO_RIGHT, "--sizes", "1000"],
            r"--sizes.* which has 100, or all, as in 50 all; got 1000 \(of its \d{3,} labels, 100 are in the training",
        ),
        ([*TO_RIGHT, "--sizes", "many"], "--sizes"),
        ([*TO_RIGHT, "--sizes", "all", "--recipes", "FineTuning(thaw=1)"], "give at least 4 epochs"),
        (
            [*TO_RIGHT, "--sizes", "all", "--recipes", "FineTuning(freeze=(0,))", "FineTuning(thaw=1)"],
            r'recipe FineTuning\(thaw=1\): .*or leave it out, as in --recipes "FineTuning\(\)"',
        ),
    ],
)
def test_studies_that_can_t_be_are_refused_by_name(run: Run, tmp_path: Path, words: list[str], message: str) -> None:
    code, _, err = run(*words, "--out", tmp_path / "study")
    assert code == 2 and re.search(message, err), err
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("described", [False, True])
def test_a_bare_table_takes_its_targets_from_the_words(run: Run, people: Path, tmp_path: Path, described: bool) -> None:
    (tmp_path / "about.yaml").write_text("columns: {job: category}\n")
    schema = ["--schema", tmp_path / "about.yaml"] if described else []
    words = ["--pretrain", "rich", "--target", "hours:regression", "--sizes", "60", "--recipes", "FineTuning()"]
    short = [*SHORT, "--seeds", "1", "--jobs", "1", "--out", tmp_path / "study"]
    code, out, err = run("transfer", people, *schema, *words, *short)
    assert (code, err) == (0, ""), err
    told = " ".join(out.split())
    assert "first on rich then hours with 60 labels: from scratch; fine-tuned; together" in told
    assert "rich target binary" in told and "hours: mae ↓" in told


def test_targets_that_a_file_names_are_not_named_again(run: Run, people: Path, tmp_path: Path) -> None:
    about = tmp_path / "about.yaml"
    about.write_text(f"table: {people}\ntargets: [rich:binary, hours:regression]\n")
    code, _, err = run("transfer", about, "--pretrain", "rich:binary", "--target", "hours", "--out", tmp_path / "study")
    assert code == 2 and "no task 'rich:binary' in 'people'; Allowed: rich, hours" in err
    code, _, err = run("transfer", people, "--pretrain", "rich", "--target", "hours:regresion")
    assert code == 2 and "did you mean 'regression'" in err
