"""The study of auxiliary tasks: what is trained, what follows from it, what is told."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from study_cases import BROKEN, BUDGET, problem

from polytask import balancing
from polytask._plain import plain
from polytask.errors import PolytaskError
from polytask.evaluation import Interval
from polytask.study import Arm, Auxiliaries, AuxiliarySummary, Brought, auxiliaries, compare
from polytask.study.auxiliary_networks import ALL, NONE, planned, with_main
from polytask.study.auxiliary_words import verdict
from polytask.study.brought import differences
from polytask.study.report.auxiliaries import render, write
from polytask.tasks import Regression

SIMILAR = Arm(balancer=balancing.GradientSimilarity())
ONLY_SIDE, ONLY_HELPER = "all but helper, only side", "all but side, only helper"


def run(folder: Path, **options: object) -> Auxiliaries:
    asked = {"main": "size", "seeds": 2, "also": [SIMILAR], "jobs": 1} | options
    return auxiliaries(asked.pop("problem", None) or problem(auxiliary=True), folder=folder, **asked)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Auxiliaries:
    return run(tmp_path_factory.mktemp("study"))


# --- what is trained -------------------------------------------------------------------------------------------------


def test_every_set_of_auxiliary_tasks_once() -> None:
    posed = problem(auxiliary=True)
    one, two = with_main(posed, ["size", "side"]), with_main(posed, ["size"])
    assert [(each.name, each.helpers) for each in planned(one, Arm())] == [(NONE, ()), ("with helper", ("helper",))]
    assert [(each.name, each.helpers) for each in planned(two, Arm(), [SIMILAR, Arm()])] == [
        (NONE, ()),
        (ALL, ("side", "helper")),
        (ONLY_SIDE, ("side",)),
        (ONLY_HELPER, ("helper",)),
        (f"{ALL}, GradientSimilarity", ("side", "helper")),  # Arm() is what the others are trained by
    ]
    three = replace(posed, tasks=(*posed.tasks[:1], *(replace(posed.tasks[2], name=name) for name in "abc")), splits={
        name: type(data)(data.inputs, {**data.targets, **dict.fromkeys("abc", data.targets["helper"])})
        for name, data in posed.splits.items()
    })  # fmt: skip
    names = [each.name for each in planned(three, Arm())]
    assert names == [NONE, ALL, "all but c", "all but b", "all but a", "only a", "only b", "only c"]


def test_who_is_main() -> None:
    posed = problem(auxiliary=True)
    assert [(task.name, task.auxiliary) for task in with_main(posed, ()).tasks] == [
        ("size", False), ("side", False), ("helper", True),
    ]  # fmt: skip
    turned = with_main(posed, ["helper"])
    assert [(task.name, task.auxiliary) for task in turned.tasks] == [
        ("helper", False), ("size", True), ("side", True),
    ]  # fmt: skip
    with pytest.raises(PolytaskError, match=r"there is no task 'sise' to be a main one; .*did you mean 'size'"):
        with_main(posed, ["sise"])
    with pytest.raises(PolytaskError, match=r"no task is marked auxiliary in 'tiny' \(size, side\): name those"):
        with_main(problem(), ())
    with pytest.raises(PolytaskError, match="every task is a main one"):
        with_main(posed, ["size", "side", "helper"])


def test_trained_networks_are_no_start() -> None:
    posed = with_main(problem(auxiliary=True), ())
    with pytest.raises(PolytaskError, match=r"'HardSharing \+ Equal, from single-task' begins with trained networks"):
        planned(posed, Arm(), [Arm(from_single_task=True)])


def test_the_networks_of_a_seed_are_equal_but_for_their_tasks(study: Auxiliaries) -> None:
    trained = {(record["arm"], record["seed"]): record for record in study.records}
    tasks = {
        NONE: ["size"],
        ALL: ["size", "side", "helper"],
        ONLY_SIDE: ["size", "side"],
        ONLY_HELPER: ["size", "helper"],
        f"{ALL}, GradientSimilarity": ["size", "side", "helper"],
    }
    assert {key: record["tasks"] for key, record in trained.items()} == {
        (arm, seed): names for arm, names in tasks.items() for seed in (0, 1)
    }
    assert {record["steps"] for record in study.records} == {4}
    assert all(record["budget"] == study.records[0]["budget"] for record in study.records)
    assert study.records[0]["budget"]["args"]["epochs"] == BUDGET["epochs"]


def test_the_networks_of_a_seed_begin_with_the_same_weights() -> None:
    posed = with_main(problem(auxiliary=True), ["size"])
    states = []
    for network in planned(posed, Arm()):
        torch.manual_seed(3)
        states.append(network.sharing(posed.backbone, posed.only("size", *network.helpers).tasks).state_dict())
    for name, first in states[0].items():
        assert all(torch.equal(first, state[name]) for state in states), name


def test_it_goes_on_where_it_was(study: Auxiliaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    original = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        taken.append(1)
        if len(taken) == 14:  # the fourth run, in its first epoch
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == 3
    again = run(tmp_path)
    assert [each["scores"] for each in again.records] == [each["scores"] for each in study.records]
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", lambda *args, **kwargs: 1 / 0)
        seen: list[tuple[int, int]] = []
        once_more = run(tmp_path, on_record=lambda record, done, total: seen.append((done, total)))
    assert once_more.records == again.records and seen == [(k, 10) for k in range(1, 11)]


def test_a_balancer_for_auxiliary_tasks_needs_one(tmp_path: Path) -> None:
    with pytest.raises(PolytaskError, match=r"GradientSimilarity lacks an auxiliary task: .*auxiliary=True"):
        compare(problem(), [SIMILAR], 1, folder=tmp_path, jobs=1)
    assert not list(tmp_path.iterdir())


def test_auxiliary_tasks_choose_no_epoch(tmp_path: Path) -> None:
    with pytest.raises(PolytaskError, match="helper"):
        run(tmp_path, budget={"select": "helper/mae"})
    assert not list(tmp_path.iterdir())


# --- what follows ----------------------------------------------------------------------------------------------------


def gain(study: Auxiliaries, arm: str, other: str, seed: int) -> float:
    """By hand: the mean over both metrics of `size`, lower is better, of how much lower, in %."""
    one, base = (
        next(each for each in study.records if (each["arm"], each["seed"]) == (name, seed))["scores"]["test"]["size"]
        for name in (arm, other)
    )
    return sum(100 * (base[name] - one[name]) / base[name] for name in ("mae", "rmse")) / 2


def test_what_each_brought_by_hand(study: Auxiliaries) -> None:
    first, second = study.summary.brought
    assert (first.main, first.auxiliary) == ("size", "side") and (second.main, second.auxiliary) == ("size", "helper")
    for found, arm, other in (
        (first.alone, ONLY_SIDE, NONE),
        (first.beside, ALL, ONLY_HELPER),
        (second.alone, ONLY_HELPER, NONE),
        (second.beside, ALL, ONLY_SIDE),
        (study.summary.together["size"], ALL, NONE),
        (study.summary.other_ways[f"{ALL}, GradientSimilarity"]["size"], f"{ALL}, GradientSimilarity", NONE),
    ):
        by_seed = [gain(study, arm, other, seed) for seed in (0, 1)]
        assert found.mean == pytest.approx(sum(by_seed) / 2) and found.n == 2
        half = 12.7062 * abs(by_seed[0] - by_seed[1]) / 2  # t(1) s / sqrt(2), s = |a - b| / sqrt(2)
        assert found.high == pytest.approx(found.mean + half, rel=1e-3)
    assert set(first.alone_metrics) == set(second.beside_metrics) == {"mae", "rmse"}


def test_chosen_is_the_best_on_validation_data(study: Auxiliaries) -> None:
    arms = study.summary.networks.arms
    assert arms[0].name == NONE and arms[0].baseline
    best = max(arms[1:], key=lambda arm: arm.validation)
    chosen = next(arm for arm in arms if arm.chosen)
    assert chosen is (best if best.validation > 0 else arms[0])


def test_written_down_and_read_again(study: Auxiliaries) -> None:
    told = json.loads((study.folder / "auxiliaries.json").read_text())
    again = AuxiliarySummary.from_json(told)
    assert plain(again) == plain(study.summary)
    assert again.brought == study.summary.brought
    of_no_study = {**told, "args": {**told["args"], "networks": {}}}
    for wrong in ({}, {"args": {"brought": 3}}, {**told, "args": {"brought": 3}}, of_no_study):
        with pytest.raises(PolytaskError, match="these are not the results of a study"):
            AuxiliarySummary.from_json(wrong)


def test_several_main_tasks_and_one_auxiliary(tmp_path: Path) -> None:
    found = run(tmp_path, main=(), seeds=1, also=[])
    assert [(each.main, each.auxiliary, each.beside) for each in found.summary.brought] == [
        ("size", "helper", None), ("side", "helper", None),
    ]  # fmt: skip
    assert {tuple(record["tasks"]) for record in found.records} == {("size", "side"), ("size", "side", "helper")}
    headline = found.summary.verdict[0]
    assert headline.count("One seed, no evidence either way: with the auxiliary task, ") == 2
    assert {each.reading for each in found.summary.brought} == {"One seed says nothing about luck."}


def test_a_network_that_fails_ends_no_study(tmp_path: Path) -> None:
    found = run(tmp_path, main=("size", "side"), seeds=1, also=[BROKEN])
    broken = next(arm for arm in found.summary.networks.arms if arm.name == "with helper, Broken + Equal")
    assert len(broken.failed) == 1 and not found.summary.other_ways
    assert "1 of the runs failed. The first, with helper, Broken + Equal, says for seed 0" in found.summary.verdict[-1]
    assert "a fault of the user&#39;s own" in render(found.summary, found.records)


def records(arm: str, scores: dict[int, float | None]) -> list[dict]:
    return [
        {"arm": arm, "seed": seed, "status": "finished", "scores": {"test": {"t": {"f1": score, "loss": 1.0}}}}
        for seed, score in scores.items()
    ]


def test_differences_are_of_equal_seeds() -> None:
    told = [*records("a", {0: 0.5, 1: 0.6, 7: 0.9}), *records("b", {0: 0.4, 1: 0.4, 8: 0.1})]
    found = differences(told, "a", "b", "t", {"f1": True}, 0.95)
    assert found[""].n == 2 and found[""].mean == pytest.approx((25.0 + 50.0) / 2)
    assert found["f1"] == found[""]
    lost = differences([*told, *records("a", {8: None})], "a", "b", "t", {"f1": True}, 0.95)
    assert math.isnan(lost[""].mean) and lost[""].low is None
    assert differences(told[:1], "a", "b", "t", {"f1": False}, 0.95)[""].low is None


UP, OPEN, DOWN = Interval(1.0, 0.5, 1.5, 3), Interval(0.5, -0.5, 1.5, 3), Interval(-1.0, -1.5, -0.5, 3)
NOT_KNOWN = Interval(math.nan, None, None, 1)


@pytest.mark.parametrize(
    "alone, beside, reading",
    [
        (UP, UP, "Keep it: it helps by itself, and beside the others."),
        (UP, OPEN, "It helps by itself; beside the others there is no evidence that it is needed."),
        (OPEN, OPEN, "No evidence that it matters."),
        (OPEN, DOWN, "No evidence by itself; beside the others it hurts."),
        (DOWN, DOWN, "Leave it out: it hurts by itself, and beside the others."),
        (DOWN, None, "Leave it out: it hurts."),
        (UP, NOT_KNOWN, "A score could not be computed, or a network is missing."),
    ],
)
def test_readings(alone: Interval, beside: Interval | None, reading: str) -> None:
    assert Brought("main", "helper", alone, beside).reading == reading


def test_verdict(study: Auxiliaries) -> None:
    networks = study.summary.networks
    brought = [Brought("size", "side", UP, DOWN), Brought("size", "helper", OPEN, OPEN)]
    told = verdict(brought, {"size": UP}, networks, single=False)
    assert told[0] == "All auxiliary tasks together helped size: it gained 1.0 % (95 % interval +0.5 % to +1.5 %)."
    assert told[1] == "By itself, helping: side (+1.0 %); no evidence either way: helper (+0.5 %)."
    assert told[2] == "Beside the others, hurting: side (-1.0 %); no evidence either way: helper (+0.5 %)."
    assert "4 intervals were looked at; by chance alone about 0.2 of them would leave 0 out." in told[-1]
    for found, words in (
        (DOWN, "hurt size: it lost 1.0 % "),
        (OPEN, "No evidence that all auxiliary tasks together helped or hurt size: +0.50 % "),
        (NOT_KNOWN, "No figure for size"),
    ):
        assert words in verdict(brought, {"size": found}, networks, single=False)[0]
    both = verdict([*brought, Brought("side", "helper", UP, UP)], {"size": UP, "side": OPEN}, networks, single=False)
    assert "For side, by itself, helping: helper (+1.0 %)." in both


# --- the page --------------------------------------------------------------------------------------------------------


def text_of(page: str) -> str:
    body = re.sub(r"<(style|script)[^>]*>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_the_page_says_what_was_found(study: Auxiliaries, tmp_path: Path) -> None:
    path = write(study.summary, study.records, tmp_path / "deep" / "report.html")
    page = path.read_text()
    text = text_of(page)
    assert "What each auxiliary task brought" in text and "side, beside the others" in text
    for sentence in study.summary.verdict:
        assert sentence in text.replace("&#39;", "'")
    assert all(each.reading in text for each in study.summary.brought)
    assert "single-task" not in text  # nothing here is compared with that
    assert "Task weights" in text and "gradients agree" in text


def test_names_are_escaped(tmp_path: Path) -> None:
    posed = problem(auxiliary=True)
    name = "<b>&"
    named = replace(
        posed,
        tasks=(*posed.tasks[:2], Regression(name, auxiliary=True).fitted(posed.splits["train"].targets["helper"])),
        splits={
            split: type(data)(data.inputs, {**data.targets, name: data.targets["helper"]})
            for split, data in posed.splits.items()
        },
    )
    found = run(tmp_path, problem=named, seeds=1, also=[])
    page = render(found.summary, found.records)
    assert "<b>&" not in page and "&lt;b&gt;&amp;" in page
