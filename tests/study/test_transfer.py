"""`transfer`: hidden labels, what starts from what, paired gains, words, the page, and going on after a stop."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from study_cases import problem

from polytask._plain import plain
from polytask.data import TensorData
from polytask.errors import PolytaskError
from polytask.evaluation import Interval, interval
from polytask.problems import Problem
from polytask.sharing import MLP, CrossStitch
from polytask.study import Arm, Transfer, TransferSize, TransferSummary, transfer, with_labels
from polytask.study.hidden import hidden
from polytask.study.report.transfer import render, write
from polytask.study.transfer_words import effect, headline, in_short, of_size, verdict
from polytask.tasks import MultiClass, Regression
from polytask.training import Budget, FineTuning, load_tree

RECIPES = (FineTuning(), FineTuning(freeze="all"))
WAYS = ["from scratch", "fine-tuned", "fine-tuned (freeze='all')", "together"]


def posed() -> Problem:
    """Three tasks, of which "size" has labels in 60 rows of 80."""
    whole = problem(160, auxiliary=True)
    train = whole.splits["train"]
    gone = torch.arange(len(train)) >= 60
    tasks = tuple(replace(task, auxiliary=False) for task in whole.tasks)
    return replace(whole, tasks=tasks, splits={**whole.splits, "train": hidden(train, {"size": gone})})


def run(folder: Path, sizes: Sequence[Any] = (12, "all"), **options: Any) -> Transfer:
    given = {"pretrain": ["helper", "side"], "target": "size", "recipes": RECIPES, "seeds": 2, "jobs": 1} | options
    return transfer(given.pop("problem", None) or posed(), sizes=sizes, folder=folder, **given)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Transfer:
    return run(tmp_path_factory.mktemp("transfer"))


def kept_rows(problem: Problem) -> set[int]:
    return set(problem.splits["train"].labelled("size").nonzero()[:, 0].tolist())


def test_sets_of_labels_are_nested_drawn_by_the_seed_and_of_the_size_asked_for() -> None:
    whole = posed()
    rows = {(n, seed): kept_rows(with_labels(whole, "size", n, seed)) for n in (5, 12, 59) for seed in (0, 1)}
    assert all(len(found) == n for (n, _), found in rows.items())
    for seed in (0, 1):
        assert rows[5, seed] < rows[12, seed] < rows[59, seed] < kept_rows(whole)
    assert rows[12, 0] != rows[12, 1]
    assert with_labels(whole, "size", 60) is whole


def test_nothing_else_is_hidden_and_the_task_is_fitted_on_what_is_left() -> None:
    whole = posed()
    few = with_labels(whole, "size", 12, seed=1)
    for split in ("validation", "test"):
        assert few.splits[split] is whole.splits[split]
    train, before = few.splits["train"], whole.splits["train"]
    assert torch.equal(train.inputs, before.inputs)
    assert torch.equal(train.targets["side"], before.targets["side"])
    left = train.targets["size"][train.labelled("size")].double()
    assert few.task("size").mean == pytest.approx(left.mean().item())
    assert few.task("size").deviation == pytest.approx(left.std(correction=0).item())
    assert few.task("helper") == whole.task("helper")


def test_bytes_and_maps_can_be_hidden() -> None:
    maps = TensorData(torch.zeros(3, 1), {"parts": torch.ones(3, 2, 2, dtype=torch.uint8)})
    left = hidden(maps, {"parts": torch.tensor([True, False, True])})
    assert left.counts() == {"parts": 4}
    assert left.targets["parts"][:, 0, 0].tolist() == [-100, 1, -100]
    assert maps.counts() == {"parts": 12}


def test_every_way_at_every_size_with_every_seed(study: Transfer) -> None:
    names = {"pre-training", *(f"{way}, {size} labels" for way in WAYS for size in (12, 60))}
    assert {(r["arm"], r["seed"]) for r in study.records} == {(name, seed) for name in names for seed in (0, 1)}
    assert all(record["status"] == "finished" for record in study.records), [r["error"] for r in study.records]
    assert [size.labels for size in study.summary.sizes] == [12, 60]
    for size in study.summary.sizes:
        assert [arm.name for arm in size.networks.arms] == WAYS
        assert size.networks.arms[0].baseline


def test_which_tasks_and_how_many_steps(study: Transfer) -> None:
    """As many steps everywhere, whatever the number of labels: 80 rows in batches of 16 make 5 in each of 2 epochs."""
    for record in study.records:
        together, first = record["arm"].startswith("together"), record["arm"] == "pre-training"
        assert record["tasks"] == (
            ["side", "helper", "size"] if together else ["side", "helper"] if first else ["size"]
        )
        assert record["steps"] == 10, record["arm"]


def test_fine_tuned_networks_begin_where_pre_training_with_their_seed_ended(study: Transfer) -> None:
    runs = study.folder / "runs"
    first = {r["seed"]: r["key"] for r in study.records if r["arm"] == "pre-training"}
    frozen = [r for r in study.records if "freeze" in r["arm"]]
    assert len(frozen) == 4
    for record in frozen:
        assert record["start"]["runs"] == {"side, helper": first[record["seed"]]}
        ended, trained = (load_tree(runs / key / "model.safetensors") for key in (record["key"], first[record["seed"]]))
        name = "shared.stages.0.linear.weight"
        assert torch.equal(ended[name], trained[name]), "it never learned: it is what it was loaded with"
    assert first[0] != first[1]
    assert not any("start" in r for r in study.records if "scratch" in r["arm"] or "together" in r["arm"])


def test_gains_are_paired_by_seed_with_scratch_at_the_same_size(study: Transfer) -> None:
    by_hand: dict[tuple[str, int], list[float]] = {}
    scores = {(r["arm"], r["seed"]): r["scores"]["test"]["size"] for r in study.records if "labels" in r["arm"]}
    for size in (12, 60):
        for way in WAYS[1:]:
            for seed in (0, 1):
                one, base = scores[f"{way}, {size} labels", seed], scores[f"from scratch, {size} labels", seed]
                gains = [100 * (base[m] - one[m]) / base[m] for m in ("mae", "rmse")]
                by_hand.setdefault((way, size), []).append(sum(gains) / 2)
    for size in study.summary.sizes:
        for way in WAYS[1:]:
            expected, found = interval(by_hand[way, size.labels]), size.gain(way)
            assert found is not None
            assert (found.mean, found.low, found.high) == pytest.approx((expected.mean, expected.low, expected.high))
        assert size.gain("from scratch") is None


def test_joint_networks_keep_the_epoch_that_is_best_for_the_target(study: Transfer) -> None:
    for record in study.records:
        if record["arm"].startswith("together"):
            gains = [epoch["score"] for epoch in record["epochs"]]
            maes = [
                epoch["validation"]["size"]["mae"] + epoch["validation"]["size"]["rmse"] for epoch in record["epochs"]
            ]
            assert record["best_epoch"] == 1 + gains.index(max(gains)) == 1 + maes.index(min(maes))


def test_the_recipe_of_the_headline_is_chosen_on_validation_data(study: Transfer) -> None:
    means = {}
    for name in study.summary.recipes:
        arms = [arm for size in study.summary.sizes for arm in size.networks.arms if arm.name == name]
        means[name] = sum(arm.validation for arm in arms) / len(arms)
    assert study.summary.chosen == max(means, key=means.get)


def test_the_same_call_trains_nothing_again_and_a_new_size_only_what_is_new(
    study: Transfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    original = torch.optim.AdamW.step

    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        taken.append(1)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    again = run(study.folder)
    assert again.records == study.records and again.summary == study.summary
    assert not taken
    run(study.folder, (12, 20, "all"))
    assert len(taken) == 10 * 2 * len(WAYS)
    run(study.folder)


def test_a_stopped_study_goes_on(tmp_path: Path, study: Transfer) -> None:
    def stop(record: Any, done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, on_record=stop)
    gone_on = run(tmp_path)
    assert [r["key"] for r in gone_on.records] == [r["key"] for r in study.records]
    assert [r["scores"] for r in gone_on.records] == [r["scores"] for r in study.records]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"target": "sizes"}, "no task 'sizes'.*did you mean 'size'"),
        ({"pretrain": ["size"]}, "another one as the target"),
        ({"pretrain": []}, "got none"),
        ({"sizes": [61]}, "which has 60, or all.*got 61"),
        ({"sizes": [0]}, "got 0"),
        ({"sizes": []}, "got none"),
        ({"recipes": [FineTuning(thaw=3)]}, "give at least 4 epochs"),
        ({"recipes": [FineTuning(load=(4,))]}, "load: expected"),
        ({"sizes": [1]}, "with 1 labels .drawn by seed 0.: task 'size' has one value only"),
        ({"arm": Arm(CrossStitch)}, "two tasks or more"),
        ({"arm": Arm(from_single_task=True)}, "leave from_single_task out"),
        ({"budget": {"select": "side/accuracy"}}, "can't select by 'side/accuracy'"),
        ({"seeds": []}, "seeds: expected"),
    ],
)
def test_what_can_t_work_is_said_before_anything_is_trained(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(PolytaskError, match=message):
        run(tmp_path, **options)
    assert not (tmp_path / "runs").exists()


def sized(labels: int, **gains: Interval | None) -> TransferSize:
    """As a study finds it; only what the words read."""
    small = Summaries.one
    first, *others = small.networks.arms
    arms = [replace(others[0], name=name, delta_m_tasks=gain, failed=()) for name, gain in gains.items()]
    return TransferSize(labels, replace(small.networks, arms=(first, *arms)))


class Summaries:
    one: TransferSize


@pytest.fixture(scope="module", autouse=True)
def _one(study: Transfer) -> None:
    Summaries.one = study.summary.sizes[0]


BETTER, WORSE, OPEN = Interval(9.0, 4.0, 14.0, 3), Interval(-9.0, -14.0, -4.0, 3), Interval(0.1, -2.0, 2.2, 3)
ALONE = Interval(3.0, None, None, 1)


def test_the_network_to_use_is_best_on_validation_data_with_the_most_labels(study: Transfer) -> None:
    found = study.summary

    def told(labels: int, **validation: float | None) -> TransferSummary:
        """Where the arms of one size have these figures on validation data."""
        sizes = [
            replace(
                size,
                networks=replace(
                    size.networks,
                    arms=tuple(
                        arm if arm.baseline else replace(arm, validation=validation.get(arm.name.split()[0], -1.0))
                        for arm in size.networks.arms
                    ),
                ),
            )
            if size.labels == labels
            else size
            for size in found.sizes
        ]
        return replace(found, sizes=tuple(sizes))

    most = found.sizes[-1].labels
    assert told(most, together=2.0).best == "together"
    assert told(most).best == "from scratch", "no other gains"
    for summary in (told(most, together=2.0), told(most)):
        record = summary.network(study.records)
        assert record is not None
        assert (record["arm"], record["seed"]) == (f"{summary.best}, {most} labels", found.sizes[-1].networks.seeds[0])


def test_words_follow_from_the_intervals() -> None:
    assert [effect(each) for each in (BETTER, WORSE, OPEN, ALONE, None, Interval(math.nan, None, None, 2))] == [
        "helped",
        "hurt",
        "no effect shows",
        "one seed, no evidence",
        "no figure",
        "no figure",
    ]
    sizes = [sized(100, x=BETTER, y=WORSE), sized(1000, x=OPEN, y=OPEN), sized(20000, x=WORSE, y=OPEN)]
    assert headline(sizes, ["a", "b"], "c", "x") == (
        "Pre-training on a and b helped c with 100 labels and hurt c with 20,000 labels (negative transfer); no effect "
        "shows with 1,000 labels."
    )
    assert headline(sizes[1:2], ["a"], "c", "x") == (
        "No evidence that pre-training on a helped or hurt c with 1,000 labels."
    )
    assert headline([sized(100, x=ALONE)], ["a"], "c", "x").startswith(
        "One seed, no evidence either way: after pre-training on a, c scored +3.0 % with 100 labels"
    )
    assert in_short(sizes[0]) == "Helped: x. Hurt: y."
    assert of_size(sizes[0], ["x"]) == (
        "With 100 labels, against training from scratch, x: helped (+9.0 %, +4.0 % to +14.0 %)."
    )
    told = verdict(sizes, ["a"], "c", ["x"], "x", "y")
    assert (
        told[1] == "Training c together with them: hurt with 100 labels; no effect shows with 1,000 and 20,000 labels."
    )


def test_what_was_written_down_is_read_again(study: Transfer) -> None:
    told = json.loads((study.folder / "transfer.json").read_text())
    assert TransferSummary.from_json(told) == study.summary
    runs = told.pop("runs")
    assert told == plain(study.summary)
    assert runs == {record["key"]: record["arm"] for record in study.records}
    with pytest.raises(PolytaskError, match="not the results of a study of transfer"):
        TransferSummary.from_json({"class": "Summary", "args": {}})


class Text(HTMLParser):
    """The words of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def test_the_page_shows_curves_words_and_how_it_was_made(study: Transfer, tmp_path: Path) -> None:
    page = render(study.summary, study.records)
    text = " ".join(" ".join(Text(page).found).split()).replace("\N{NO-BREAK SPACE}", " ")
    assert text.count(study.summary.verdict[0]) >= 2
    for size in study.summary.sizes:
        assert size.networks.verdict[0] in text
    assert page.count("gain over from scratch, %") >= 1 and 'class="band"' in page
    assert "http" not in page.split("<main>")[1].split("<footer>")[0]
    for heading in ("Against the number of labels", "Size by size", "Learning curves", "Cost", "How it was done"):
        assert f">{heading}</h2>" in page
    path = write(study.summary, study.records, tmp_path / "deep" / "report.html")
    assert path.read_text() == page


def test_a_failed_run_is_told_and_the_others_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import polytask.study.run as module

    original = module.fit

    def fit(model: Any, tasks: Any, *args: Any, **options: Any) -> Any:
        if len(tasks) == 3 and options["seed"] == 1:
            raise RuntimeError("no luck")
        return original(model, tasks, *args, **options)

    monkeypatch.setattr(module, "fit", fit)
    found = run(tmp_path, [12], recipes=[FineTuning()])
    assert "1 of the runs failed. The first, together, says for seed 1" in found.summary.verdict[-1]
    assert found.summary.sizes[0].gain("together").n == 1
    assert found.summary.sizes[0].gain("fine-tuned").n == 2
    assert "no luck" in render(found.summary, found.records)


def test_where_pre_training_fails_the_other_seeds_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import polytask.study.run as module

    original, broken = module.fit, {1}

    def fit(model: Any, tasks: Any, *args: Any, **options: Any) -> Any:
        if len(tasks) == 2 and options["seed"] in broken:
            raise RuntimeError("no luck")
        return original(model, tasks, *args, **options)

    monkeypatch.setattr(module, "fit", fit)
    found = run(tmp_path, [12], recipes=[FineTuning()])
    assert found.summary.verdict[-1] == "Pre-training failed with seed 1: RuntimeError: no luck."
    assert [found.summary.sizes[0].gain(way).n for way in ("fine-tuned", "together")] == [1, 2]
    broken.add(0)
    with pytest.raises(PolytaskError, match="pre-training failed with every seed: RuntimeError: no luck"):
        run(tmp_path / "other", [12])


def test_transfer_helps_from_a_twin_with_few_labels_and_hurts_where_all_is_frozen_at_something_else(
    tmp_path: Path,
) -> None:
    """The claim itself: features of a task that needs the same ones help where labels are few; a frozen trunk that was
    trained on something else hurts where they are many."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(700, 12, generator=generator)
    ridges = (x[:, :6] @ torch.randn(6, 2, generator=generator)).abs()
    targets = {"sum": ridges.sum(1), "twin": ridges.sum(1) + 0.1 * x[:, 11], "other": (x[:, 6:].sum(1) > 0).long()}
    whole = TensorData(x, targets)
    places = {"train": range(400), "validation": range(400, 550), "test": range(550, 700)}
    splits = {name: whole.select(torch.tensor(rows)) for name, rows in places.items()}
    raw = [Regression("sum"), Regression("twin"), MultiClass("other", 2)]
    tasks = tuple(task.fitted(splits["train"].targets[task.name]) for task in raw)
    made = Problem("ridges", tasks, splits, MLP(12, widths=(32,)))
    budget = Budget(epochs=6, batch_size=50, learning_rate=0.02)

    def gain(first: str, size: Any, recipe: FineTuning) -> Interval:
        found = transfer(made, [first], "sum", [size], [recipe], None, 3, budget, tmp_path / first, jobs=1)
        return found.summary.sizes[0].gain(found.summary.chosen)

    assert gain("twin", 40, FineTuning()).above_zero
    assert gain("other", "all", FineTuning(freeze="all")).below_zero
