"""Scores of a model on a split: pooled over the whole split, never averaged over batches."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from polytask._text import did_you_mean
from polytask.balancing.processes import mean_over_processes, processes, rank
from polytask.data import Batches, TensorData
from polytask.errors import PolytaskError
from polytask.evaluation import delta_m_tasks, gains
from polytask.tasks import Task

Scores = dict[str, dict[str, float]]
Metrics = dict[str, dict[str, Metric]]

AT_ONCE = 1 << 24
"""Numbers, of inputs and predictions together, that a network is evaluated on at once: 64 MiB of them."""


def fresh_metrics(tasks: Iterable[Task], device: torch.device | str = "cpu") -> Metrics:
    """The metrics of every task, on a device."""
    return {task.name: {name: each.to(device) for name, each in task.metrics().items()} for task in tasks}


@torch.no_grad()
def evaluate(
    model: nn.Module,
    tasks: Sequence[Task],
    data: TensorData,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    metrics: Metrics | None = None,
    classes: Mapping[str, Metric] | None = None,
) -> Scores:
    """Loss and metrics of every task, in the target's own units.

    The model is put in evaluation mode and back. On several processes each one does its share of the rows and all
    get the same scores.

    Args:
        model: inputs, task names -> {task: prediction}.
        tasks: what to score; all have labels in `data`.
        data: the split.
        device: where the model is.
        batch_size: samples at a time; the scores do not depend on it. By default 1024, or as many as have `AT_ONCE`
            numbers, which maps and large images make fewer.
        metrics: those of `fresh_metrics`, to be used again and again; by default fresh ones.
        classes: fresh metrics of single classes (`Task.by_class`), by task: they are shown the same, and read by whom
            they belong to.

    Returns:
        {task: {"loss": ..., metric: ...}}.
    """
    was_training = model.training
    model.eval()
    metrics = metrics or fresh_metrics(tasks, device)
    for measured in (each for of_task in metrics.values() for each in of_task.values()):
        measured.reset()
    sums = torch.zeros(len(tasks), dtype=torch.float64)
    counts = data.counts()
    world = processes()
    for batch in Batches(data, max(batch_size or at_once(tasks, data), world), rank=rank(), world=world):
        moved = batch.to(torch.device(device))
        if not len(moved):
            continue
        shown = [task for task in tasks if task.name in moved.targets]
        predictions = model(moved.inputs, [task.name for task in shown])
        for row, task in enumerate(tasks):
            if task.name in moved.targets:
                prediction, target = predictions[task.name].float(), moved.targets[task.name]
                sums[row] += task.loss_sum(prediction, target).double().cpu()
                asked = {"by class": classes[task.name]} if classes and task.name in classes else {}
                task.update({**metrics[task.name], **asked}, prediction, target)
    model.train(was_training)
    sums = mean_over_processes(sums.to(device)).cpu() * world if world > 1 else sums
    return {
        task.name: {"loss": total / counts[task.name]}
        | {name: float(metric.compute()) for name, metric in metrics[task.name].items()}
        for task, total in zip(tasks, sums.tolist(), strict=True)
    }


def at_once(tasks: Sequence[Task], data: TensorData, most: int = 1024) -> int:
    """How many samples of these data are evaluated at once: up to `most` and 1024, at least 1.

    >>> import torch
    >>> from polytask.tasks import Binary
    >>> at_once([Binary("bright")], TensorData(torch.zeros(1, 3, 512, 512), {"bright": torch.zeros(1)}))
    21
    """
    first = data.select(torch.arange(min(1, len(data))))
    columns = first.inputs.values() if isinstance(first.inputs, dict) else [first.inputs]
    numbers = sum(math.prod(each.shape[1:]) for each in columns)
    for task in tasks:
        size = first.targets[task.name].shape[-2:] if task.dense else ()
        numbers += task.outputs * math.prod(size)
    return max(1, min(most, 1024, AT_ONCE // numbers))


def constant_scores(
    tasks: Sequence[Task], train: TensorData, data: TensorData, device: torch.device | str = "cpu"
) -> Scores:
    """What the best constant prediction (training mean, class frequencies) scores on `data`.

    The inputs are not looked at. `device` is where predictions and labels are compared.

    >>> import torch
    >>> from polytask.tasks import Regression
    >>> data = TensorData(torch.zeros(2, 1), {"age": torch.tensor([20.0, 40.0])})
    >>> constant_scores([Regression("age").fitted(data.targets["age"])], data, data)["age"]["mae"]
    10.0
    """
    constants = {task.name: task.constant(train.targets[task.name]).to(device) for task in tasks}
    labels = TensorData(torch.arange(len(data)), {task.name: data.targets[task.name] for task in tasks})
    return evaluate(_Constant(tasks, constants, labels), tasks, labels, device)


class _Constant(nn.Module):
    """The same prediction for every sample, or for all of a member. The inputs are sample numbers: none is fetched."""

    def __init__(self, tasks: Iterable[Task], constants: Mapping[str, Tensor], data: TensorData) -> None:
        super().__init__()
        self.tasks, self.constants = {task.name: task for task in tasks}, constants
        self.targets = data.targets

    def forward(self, inputs: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        return {name: self.tasks[name].repeated(self.constants[name], self._like(name, inputs)) for name in names}

    def _like(self, name: str, rows: Tensor) -> Tensor:
        """Targets of the shape of these rows'; of a task with members the rows themselves, which say whose they are."""
        target = self.targets[name]
        if self.tasks[name].member_names:
            return target[rows.cpu()].to(rows.device)
        return target[:1].expand(len(rows), *target.shape[1:])


def directions(tasks: Iterable[Task]) -> dict[str, dict[str, bool]]:
    """For every task and metric, whether higher is better."""
    return {
        task.name: {name: bool(metric.higher_is_better) for name, metric in task.metrics().items()} for task in tasks
    }


def selection_score(
    tasks: Sequence[Task], reference: Mapping[str, Mapping[str, float]], select: str | None = None
) -> Callable[[Scores], float]:
    """The number by which epochs are compared on validation data: higher is better.

    By default delta_m over the tasks that are not auxiliary (weighed by importance), against `reference`; with
    `select` = "task/metric" the gain in that metric alone.
    """
    ways = directions(tasks)
    if select is not None:
        allowed = {f"{task}/{each}": (task, each) for task, found in ways.items() for each in found}
        if select not in allowed:
            raise PolytaskError(f"can't select by '{select}'; {did_you_mean(select, allowed)}")
        task_name, metric = allowed[select]
        return lambda scores: scores[task_name][metric] * (1 if ways[task_name][metric] else -1)
    counted = [task for task in tasks if not task.auxiliary] or list(tasks)
    importance = {task.name: task.importance for task in counted}

    def score(scores: Scores) -> float:
        shown = {name: scores[name] for name in importance}
        return delta_m_tasks(gains(shown, reference, ways), importance)

    return score
