"""The data-starved study: scores of single classes, gains against labels, and the section of the report."""

import itertools
from pathlib import Path

import pytest
import torch
from dense_cases import problem as maps
from scipy.stats import spearmanr

from polytask._plain import plain
from polytask.data import TensorData
from polytask.problems import Problem
from polytask.sharing import MLP
from polytask.study import Summary, compare, rank_correlation, rare_classes, train
from polytask.study.report import render
from polytask.study.run import Job
from polytask.tasks import Depth, Edges, MultiClass, MultiLabel, Regression, Segmentation
from polytask.training import Budget, evaluate


def scores(task, prediction: torch.Tensor, target: torch.Tensor, pieces: int = 2) -> list[float]:
    """The scores of single classes, shown in pieces."""
    _, metric = task.by_class()
    for some, known in zip(prediction.chunk(pieces), target.chunk(pieces), strict=True):
        task.update({"": metric}, some, known)
    return metric.compute().tolist()


def test_f1_of_every_class_by_hand() -> None:
    """Class 0: right twice, taken for 1 once. Class 1: right once. Class 2 is no label, and named once."""
    task = MultiClass("thing", ("cat", "dog", "cow"))
    target = torch.tensor([0, 0, 0, 1, 1, -100])
    named = torch.tensor([0, 0, 1, 1, 2, 2])
    found = scores(task, torch.eye(3)[named], target)
    assert found[:2] == pytest.approx([2 * 2 / (2 * 2 + 0 + 1), 2 * 1 / (2 * 1 + 1 + 1)])
    assert torch.tensor(found[2]).isnan()
    assert task.label_counts(target).tolist() == [3, 2, 0]


@pytest.mark.filterwarnings("error")
def test_auroc_of_every_label_by_hand() -> None:
    """The second label is never there: no curve; a missing entry counts for nothing."""
    task = MultiLabel("tags", ("red", "never", "round"))
    target = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 0, -100], [0, 0, 1]])
    logits = torch.tensor([[3.0, 0.0, 1.0], [2.0, 0.0, 2.0], [1.0, 1.0, 9.0], [0.0, 0.0, 3.0]])
    found = scores(task, logits, target)
    assert found[0] == pytest.approx(3 / 4) and found[2] == pytest.approx(1 / 2)
    assert torch.tensor(found[1]).isnan()
    assert task.label_counts(target).tolist() == [2, 0, 2]


def test_iou_of_every_class_by_hand() -> None:
    task = Segmentation("where", ("sky", "earth", "sea"))
    target = torch.tensor([[[0, 0, 1, -100]], [[1, 1, 0, 0]]], dtype=torch.int8)
    named = torch.tensor([[[0, 1, 1, 2]], [[1, 2, 0, 0]]])
    prediction = torch.eye(3)[named].movedim(-1, 1)
    found = scores(task, prediction, target)
    assert found[:2] == pytest.approx([3 / 4, 2 / 4])
    assert torch.tensor(found[2]).isnan(), "named, but never a label"
    assert task.label_counts(target).tolist() == [4, 3, 0]


@pytest.mark.parametrize("task", [Regression("a"), Depth("a"), Edges("a")], ids=lambda t: type(t).__name__)
def test_tasks_without_classes(task) -> None:
    assert task.by_class() is None and task.class_names == () and task.label_counts(torch.zeros(2)).numel() == 0


def test_they_are_computed_in_the_pass_of_the_evaluation() -> None:
    posed = maps()
    model = torch.nn.Module()
    calls = []
    model.forward = lambda inputs, names: (
        calls.append(1)
        or {
            "where": torch.zeros(len(inputs), 2, 16, 16),
            "how": torch.ones(len(inputs), 1, 16, 16),
        }
    )
    _, metric = posed.task("where").by_class()
    found = evaluate(model, posed.tasks, posed.splits["test"], batch_size=5, classes={"where": metric})
    assert len(calls) == 2, "nine samples, five at a time"
    assert set(found["where"]) == {"loss", "miou", "pixel accuracy"}
    assert torch.nanmean(metric.compute()).item() == pytest.approx(found["where"]["miou"])


@pytest.mark.parametrize("n", [3, 5, 7, 8, 30])
def test_rank_correlation_is_spearmans(n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    x = torch.randint(5, (n,), generator=generator).double().tolist()  # with equal values
    y = torch.randn(n, generator=generator).double().tolist()
    found = rank_correlation(x, y)
    wanted = spearmanr(x, y)
    assert found.r == pytest.approx(wanted.statistic) and found.n == n
    if n > 7:
        assert found.chance == pytest.approx(wanted.pvalue)


def test_its_chance_is_counted_over_all_orders_where_there_are_few() -> None:
    x, y = [1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 3.0, 4.0]
    found = rank_correlation(x, y)
    every = [abs(spearmanr(x, each).statistic) for each in itertools.permutations(y)]
    assert found.chance == pytest.approx(sum(each >= abs(found.r) - 1e-9 for each in every) / 24)
    assert not rank_correlation([1, 2, 3], [3.0, 2.0, 1.0]).clear, "three classes can show no pattern"
    assert rank_correlation([5, 5, 5], [3.0, 2.0, 1.0]).chance == 1


COUNTS = (160, 80, 40, 20, 10)


def starved(rows: int) -> TensorData:
    generator = torch.Generator().manual_seed(rows)
    kind = torch.multinomial(torch.tensor(COUNTS, dtype=torch.float), rows, replacement=True, generator=generator)
    x = torch.eye(5)[kind] + 0.7 * torch.randn(rows, 5, generator=generator)
    return TensorData(x, {"kind": kind, "size": x[:, 0] + 3})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory):
    splits = {"train": starved(300), "validation": starved(100), "test": starved(200)}
    posed = Problem(
        "starved",
        (MultiClass("kind", tuple("vwxyz")), Regression("size").fitted(splits["train"].targets["size"])),
        splits,
        MLP(5, widths=(16,)),
        suggested={"epochs": 3, "batch_size": 32, "learning_rate": 0.01},
    )
    return posed, compare(posed, [], 2, None, tmp_path_factory.mktemp("starved"), jobs=1)


def test_gains_of_classes_are_paired_differences_in_points(study) -> None:
    posed, done = study
    by_arm = {(r["arm"], r["seed"]): r["classes"] for r in done.records if "kind" in r["tasks"]}
    arm = next(each for each in done.summary.arms if not each.baseline)
    for label in "vwxyz":
        apart = [
            100 * (by_arm[arm.name, s]["kind"]["scores"][label] - by_arm["single-task", s]["kind"]["scores"][label])
            for s in (0, 1)
        ]
        assert arm.class_gains["kind"][label].mean == pytest.approx(sum(apart) / 2)
        assert arm.class_gains["kind"][label].n == 2
    assert set(arm.class_gains) == {"kind"}
    kind = next(task for task in done.summary.tasks if task.name == "kind")
    known = posed.splits["train"].targets["kind"]
    assert kind.labels == {label: int((known == k).sum()) for k, label in enumerate("vwxyz")}
    assert kind.class_metric == "f1"


def test_the_pattern_is_that_of_labels_and_mean_gains(study) -> None:
    _, done = study
    (found,) = rare_classes(done.summary).values()
    assert list(found.labels.values()) == sorted(found.labels.values()), "the fewest first"
    (arm,) = found.patterns
    gains = [found.gains[arm][label].mean for label in found.labels]
    assert found.patterns[arm].r == pytest.approx(spearmanr(list(found.labels.values()), gains).statistic)
    assert found.patterns[arm].n == 5
    assert rare_classes(Summary.from_json(plain(done.summary))) == {"kind": found}


def test_the_report_shows_every_class(study) -> None:
    _, done = study
    text = render(done.summary, done.records)
    section = text[text.index('<section id="rare">') :]
    section = section[: section.index("</section>")]
    (found,) = rare_classes(done.summary).values()
    for label, count in found.labels.items():
        assert f"{label}: {count} labels" in section
    assert "rank correlation r = " in section and "5 classes" in section


def test_two_classes_are_too_few(tmp_path: Path) -> None:
    done = compare(maps(), [], 1, None, tmp_path, jobs=1)
    arm = next(each for each in done.summary.arms if not each.baseline)
    assert set(arm.class_gains["where"]) == {"dark", "bright"} and not arm.patterns
    assert rare_classes(done.summary) == {} and 'id="rare"' not in render(done.summary, done.records)


def test_a_class_without_a_test_label_has_no_gain(tmp_path: Path) -> None:
    data = starved(60)
    few = data.select((data.targets["kind"] < 4).nonzero()[:, 0])
    posed = Problem(
        "absent", (MultiClass("kind", 5),), {"train": data, "validation": few, "test": few}, MLP(5, widths=(4,))
    )
    record = train(Job(posed, None, 0, Budget(epochs=1, batch_size=16)), tmp_path)
    assert record["classes"]["kind"]["scores"]["4"] is None and record["classes"]["kind"]["scores"]["0"] is not None
