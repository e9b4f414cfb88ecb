"""One network: train, evaluate, predict, describe."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from .conftest import DIGITS, SMALL, TARGETS

Run = Callable[..., tuple[int, str, str]]


def scores_shown(out: str) -> list[str]:
    """The lines of the table of scores."""
    lines = out.splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith("task ") and "metric" in line)
    return lines[first + 2 : lines.index("", first)]


def test_train_evaluate_predict_go_together(run: Run, people: Path, table_run: Path, tmp_path: Path) -> None:
    words = ["train", people, *TARGETS, "--budget.epochs", "6", "--budget.batch_size", "32"]
    words += ["--budget.learning_rate", "0.01", "--balancer", "PCGrad(seed=1)", "--out", table_run]
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert "epoch " not in out.split("To train")[1].partition("\n")[2].partition("Best")[0].replace("epochs", "")
    code, evaluated, err = run("evaluate", table_run)
    assert (code, err) == (0, "")
    assert scores_shown(evaluated) == scores_shown(out)

    target = tmp_path / "predictions.csv"
    code, out, err = run("predict", table_run, people, "--out", target)
    assert (code, err) == (0, "")
    table = pl.read_csv(target)
    assert table.height == 300
    assert table["id"].to_list() == [f"p{row}" for row in range(300)], "in the order of the table"
    assert table["predicted rich: probability of yes"].is_between(0, 1).all()
    error = (table["predicted hours"] - table["hours"]).abs().mean()
    assert error < (table["hours"] - table["hours"].mean()).abs().mean(), "better than the mean"


def test_predict_takes_a_table_without_the_targets(run: Run, people: Path, table_run: Path, tmp_path: Path) -> None:
    data, target = tmp_path / "new.csv", tmp_path / "out" / "new.parquet"
    data.write_text("job,age\ncook,33\npilot,\n")
    assert run("predict", table_run, data, "--out", target)[0] == 0
    assert pl.read_parquet(target).columns[-3:] == [
        "predicted rich",
        "predicted rich: probability of yes",
        "predicted hours",
    ]


def test_another_split_and_another_architecture(run: Run, digits_run: Path) -> None:
    code, out, err = run("evaluate", digits_run, "--split", "validation")
    assert (code, err) == (0, "")
    assert "HardSharing(shared_stages=1) + Equal, seed 0" in out
    assert "50 rows of the validation split" in " ".join(out.split())


def test_a_run_of_a_study_can_be_evaluated(run: Run, study: Path) -> None:
    for record in map(json.loads, (study / "records.jsonl").read_text().splitlines()):
        code, out, err = run("evaluate", study / "runs" / record["key"])
        assert (code, err) == (0, "")
        assert record["tasks"][0] in out


@pytest.mark.parametrize("of", ["problem", "run"])
def test_describe(run: Run, digits_run: Path, of: str) -> None:
    balancers = [] if of == "run" else ["--balancers", "Equal", "PCGrad"]
    code, out, err = run("describe", DIGITS if of == "problem" else digits_run, *balancers)
    assert (code, err) == (0, "")
    assert "(rows)" in out
    assert "sharing saves" in out
    assert "left alone" in out
    assert "backward passes through all that is shared" in " ".join(out.split())
    assert ("branches.left" in out) == (of == "run")
    if of == "problem":
        line = next(line for line in out.splitlines() if line.startswith("PCGrad"))
        assert line.split()[1] == "2"


def test_describe_foresees_ways_and_memory(run: Run) -> None:
    several = ["Equal", "MGDA", "MoDo", "GREAT", "Every(4, MGDA())", "GradNorm"]
    code, out, err = run("describe", DIGITS, *SMALL, "--balancers", *several)
    assert (code, err) == (0, "")
    found = {line.split()[0]: line.split()[1:] for line in out.splitlines() if " up to " in line}
    shared = 23408 * 4 / 2**20
    assert found["Equal"][:3] == ["1", "one", "pass"] and found["Equal"][4] == "–"
    assert found["MoDo"][:2] == ["2", "sequential"] and float(found["MoDo"][4]) == pytest.approx(4 * shared, rel=0.01)
    assert found["GradNorm"][:3] == ["1", "one", "pass"]
    assert found["GREAT"][:2] == ["1", "sequential"]
    assert "one backward pass per task" in " ".join(out.split())


def test_train_with_an_estimate_and_a_way(run: Run, tmp_path: Path) -> None:
    how = ["--estimate", "LastLayers(0.5)", "--way", "sequential", "--balancer", "MGDA"]
    assert run("train", DIGITS, *SMALL, *how, "--out", tmp_path / "run")[0] == 0
    told = json.loads((tmp_path / "run" / "job.json").read_text())["arm"]
    assert told["estimate"] == {"class": "LastLayers", "args": {"fraction": 0.5}} and told["way"] == "sequential"
    code, out, _ = run("evaluate", tmp_path / "run")
    assert code == 0 and "MGDA by the last 0.5 of the layers (sequential)" in " ".join(out.split())
    assert run("train", DIGITS, *SMALL, *how, "--out", tmp_path / "run")[0] == 0  # finished


@pytest.mark.parametrize(
    "words, told",
    [
        (["--balancers", "Equal", "--estimate", "LastLayers(0.5)"], "--estimate is for methods that weigh"),
        (["--balancers", "Equal", "--way", "sequential"], "--way is for methods that weigh"),
        (["--balancers", "MGDA", "--estimate", "LastLayers(2)"], "must be above 0 and at most 1"),
        (["--balancers", "MGDA", "--estimate", "First"], "no estimate 'First'"),
        (["--balancers", "MGDA", "--way", "fast"], "--way: expected auto, sequential"),
        (["--balancers", "GradDrop", "--way", "layerwise"], "take way='sequential'"),
        (["--balancers", "GREAT", "--sharing", "Independent"], "Independent has no shared features"),
    ],
)
def test_ways_that_are_not_possible_are_told_before_training(
    run: Run, tmp_path: Path, words: list[str], told: str
) -> None:
    assert told in refused(run("compare", DIGITS, *SMALL, *words, "--out", tmp_path / "study"))
    assert not (tmp_path / "study").exists()


def test_methods_of_halves_and_of_features_just_work(run: Run, tmp_path: Path) -> None:
    words = ["--balancers", "MoDo", "SDMGrad", "GREAT", "--seeds", "1", "--jobs", "1", "--out", tmp_path / "study"]
    code, out, err = run("compare", DIGITS, *SMALL, *words)
    assert (code, err) == (0, "")
    assert "SDMGrad" in out and "GREAT" in out


def test_another_backbone(run: Run, tmp_path: Path) -> None:
    words = ["train", DIGITS, *SMALL, "--backbone", "SmallCNN(widths=(4, 8))", "--out", tmp_path / "run"]
    assert run(*words)[0] == 0
    assert run("evaluate", tmp_path / "run")[0] == 0
    assert json.loads((tmp_path / "run" / "job.json").read_text())["backbone"]["args"]["widths"] == [4, 8]


# --- folders that are not as they were -------------------------------------------------------------------------------


@pytest.fixture
def copied(table_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(table_run, tmp_path / "run"))


def refused(ran: tuple[int, str, str]) -> str:
    code, _, err = ran
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    return err


def test_weights_cut_short(run: Run, copied: Path) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "cut short" in refused(run("evaluate", copied))


def test_weights_of_another_run(run: Run, copied: Path, digits_run: Path) -> None:
    shutil.copy(digits_run / "model.safetensors", copied)
    assert "checkpoint of another model" in refused(run("evaluate", copied))


def test_checkpoint_cut_short_when_going_on(run: Run, copied: Path, people: Path) -> None:
    (copied / "record.json").unlink()
    path = copied / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    words = ["train", people, *TARGETS, "--budget.epochs", "6", "--budget.batch_size", "32"]
    words += ["--budget.learning_rate", "0.01", "--balancer", "PCGrad(seed=1)", "--out", copied]
    assert "cut short" in refused(run(*words))


def test_a_folder_of_another_run_is_left_alone(run: Run, copied: Path, people: Path) -> None:
    before = {path: path.read_bytes() for path in copied.iterdir() if path.is_file()}
    err = refused(run("train", people, *TARGETS, *SMALL, "--out", copied))
    assert "another run" in err
    assert "give another folder" in err
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("name", ["os.system", "Popen", "Sequential"])
def test_no_class_from_outside_the_catalogues_is_made(run: Run, copied: Path, name: str) -> None:
    for part in ("balancer", "sharing"):
        job = json.loads((copied / "job.json").read_text())
        job["arm"][part] = {"class": name, "args": {"command": "touch evil"}}
        (copied / "job.json").write_text(json.dumps(job))
        assert name in refused(run("evaluate", copied))


def test_an_encoder_from_outside_is_refused(run: Run, copied: Path, people: Path) -> None:
    path = copied / "preprocessing.json"
    path.write_text(path.read_text().replace("NumberEncoder", "EvilEncoder"))
    assert "EvilEncoder" in refused(run("predict", copied, people))


def test_data_that_changed_since(run: Run, copied: Path, people: Path, tmp_path: Path) -> None:
    changed = tmp_path / "people.csv"
    changed.write_text(people.read_text().replace("cook", "nurse"))
    job = json.loads((copied / "job.json").read_text())
    job["spec"]["args"]["path"] = str(changed)
    (copied / "job.json").write_text(json.dumps(job))
    assert "no longer those" in refused(run("evaluate", copied))


def test_a_table_that_lacks_columns(run: Run, table_run: Path, tmp_path: Path) -> None:
    data = tmp_path / "new.csv"
    data.write_text("job,agee\ncook,33\n")
    err = refused(run("predict", table_run, data, "--out", tmp_path / "out.csv"))
    assert "lacks" in err
    assert "did you mean 'agee'" in err and "Allowed" not in err
    assert not (tmp_path / "out.csv").exists()


def test_words_where_numbers_were(run: Run, table_run: Path, tmp_path: Path) -> None:
    data = tmp_path / "new.csv"
    data.write_text("job,age\ncook,old\n")
    err = refused(run("predict", table_run, data))
    assert "row 1 (the header not counted) holds 'old'" in err
    assert "mend the cells, or empty them" in err and "YAML" not in err, "the network was trained: no file can help"


def test_predict_wants_a_table(run: Run, digits_run: Path, people: Path) -> None:
    err = refused(run("predict", digits_run, people))
    assert "trained on digits, which is no table" in err
    assert "give predict a folder of images" in err
    assert "which is no table" in refused(run("predict", digits_run, people, "--out", "m2")), "before the ending of m2"


def test_predictions_have_six_digits_in_csv_and_all_in_parquet(
    run: Run, table_run: Path, people: Path, tmp_path: Path
) -> None:
    data = tmp_path / "new.csv"
    data.write_text("job,age,place\ncook,33,0.123456789\nsmith,41.5,2.5\n")
    for ending in ("csv", "parquet"):
        assert run("predict", table_run, data, "--out", tmp_path / f"out.{ending}")[0] == 0
    short, exact = pl.read_csv(tmp_path / "out.csv"), pl.read_parquet(tmp_path / "out.parquet")
    name = "predicted rich: probability of yes"
    assert all(len(f"{value}".lstrip("0.")) <= 6 for value in short[name])
    assert short[name].to_list() == [float(f"{value:.6g}") for value in exact[name]] != exact[name].to_list()
    assert short["place"].to_list() == [0.123456789, 2.5], "what came is left as it was"


def test_columns_of_a_user_that_are_called_like_predictions(run: Run, table_run: Path, tmp_path: Path) -> None:
    data, target = tmp_path / "new.csv", tmp_path / "out.csv"
    data.write_text("job,age,predicted rain\ncook,33,0.123456789\nsmith,41.5,2.5\n")
    code, out, _ = run("predict", table_run, data, "--out", target)
    assert code == 0
    assert "2 rows: predicted rich, predicted rich: probability of yes, predicted hours" in " ".join(out.split())
    assert pl.read_csv(target)["predicted rain"].to_list() == [0.123456789, 2.5], "not one of those that were added"
    data.write_text("job,age,predicted hours\ncook,33,1\nsmith,41.5,2\n")
    target.unlink()
    err = refused(run("predict", table_run, data, "--out", target))
    assert "columns that predictions would be called: predicted hours; rename or drop them" in err
    assert not target.exists()


def test_no_run_there(run: Run, tmp_path: Path, study: Path) -> None:
    assert "no folder" in refused(run("evaluate", tmp_path / "nowhere"))
    assert "job.json" in refused(run("evaluate", tmp_path))
    assert "expected the folder of a finished study" in refused(run("report", tmp_path))
    code, out, _ = run("evaluate", study)
    assert code == 0 and "network" in out  # the chosen one
