"""What a trained network says of a few test samples, as pictures: the same ones for every network of a study."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from polytask.data import TensorData
from polytask.problems import Problem
from polytask.sharing import MultiTaskModel
from polytask.study.report.webp import encoded
from polytask.tasks import Dense, Task, present
from polytask.tasks.colours import colour_images, range_colours

COUNT = 4
"""Test samples that are shown."""

SIDE = 256
"""Pixels of a picture's longer side at most."""

MAPS = 24
"""Attention maps of a sample at most."""

QUALITY = 80
"""Of WebP, where colours are many."""

Rows = tuple[int | None, ...]


def example_rows(problem: Problem, count: int = COUNT) -> tuple[int, ...]:
    """Test samples to show, spread evenly over the split; chosen by their labels alone, never by a result.

    They are among those that have a label of every task that can be shown, where there are enough of them. None where
    no task can be shown.
    """
    tasks = _shown(problem)
    data = problem.splits["test"]
    if not tasks:
        return ()
    whole = torch.stack([_labelled(data, task) for task in tasks]).all(0).nonzero()[:, 0]
    rows = whole if len(whole) >= count else torch.arange(len(data))
    places = torch.linspace(0, len(rows) - 1, min(count, len(rows))).round().long()
    return tuple(int(row) for row in rows[places])


def rows_alone(problem: Problem, rows: Sequence[int], task: Task) -> Rows:
    """Where these test samples are in `problem.only(task)`, which holds those with a label alone; None: not there."""
    there = _labelled(problem.splits["test"], task)
    place = there.cumsum(0) - 1
    return tuple(int(place[row]) if there[row] else None for row in rows)


@torch.no_grad()
def examples(model: MultiTaskModel, problem: Problem, rows: Rows, device: torch.device) -> dict[str, Any] | None:
    """Inputs, targets, predictions and error maps of some test samples as data URIs of WebP pictures.

    Args:
        model: trained; it is put in evaluation mode and back.
        problem: its tasks, those that can be shown (`Task.shown`).
        rows: of the test split; None where a sample is not in it.

    Returns:
        {"rows", "inputs", "tasks": {task: {"prediction", "error", "target"}}, "legends": {task: {label: colour}},
        "maps": {label: pictures}, "map_ranges": {label: [black, white]}, "maps_left_out"}; every list of pictures has
        one entry per row, None where there is nothing to show. None where no task can be shown or no sample is there.
    """
    tasks, places = _shown(problem), [row for row in rows if row is not None]
    if not tasks or not places:
        return None
    batch = problem.splits["test"].gather(torch.tensor(places)).to(device)
    images = batch.inputs if isinstance(batch.inputs, Tensor) and batch.inputs.ndim == 4 else None
    predictions, maps = _predicted(model, batch.inputs, [task.name for task in tasks])
    stretched = {label: _stretched(each.float()) for label, each in list(maps.items())[:MAPS]}

    def listed(pictures: Tensor | None) -> list[str | None]:
        found = iter([] if pictures is None else map(data_uri, pictures.cpu()))
        return [None if row is None else next(found, None) for row in rows]

    def of_task(task: Task) -> dict[str, list[str | None]]:
        prediction, target = predictions[task.name].float(), batch.targets.get(task.name)
        told = {"prediction": listed(task.picture(prediction, images))}
        if target is not None:
            told["target"] = listed(task.target_picture(target, images))
        if target is not None and isinstance(task, Dense):
            told["error"] = listed(range_colours(task.error_map(prediction, target)))
        return told

    return {
        "rows": list(rows),
        "inputs": listed(colour_images(images) if images is not None and images.shape[1] in (1, 3) else None),
        "tasks": {task.name: of_task(task) for task in tasks},
        "legends": {task.name: legend for task in tasks if (legend := _legend(task))},
        "maps": {label: listed(colour_images(each[:, None])) for label, (each, _) in stretched.items()},
        "map_ranges": {label: ends for label, (_, ends) in stretched.items()},
        "maps_left_out": max(0, len(maps) - MAPS),
    }


def data_uri(picture: Tensor) -> str:
    """A picture uint8 [h, w, 3] as a WebP data URI: small, and exact where it has few colours.

    >>> import torch
    >>> data_uri(torch.zeros(2, 2, 3, dtype=torch.uint8))[:23]
    'data:image/webp;base64,'
    """
    return encoded(Image.fromarray(picture.contiguous().numpy()), SIDE, QUALITY)


def _shown(problem: Problem) -> list[Task]:
    return [task for task in problem.tasks if task.shown]


def _labelled(data: TensorData, task: Task) -> Tensor:
    """Which samples have a label of the task."""
    return present(data.targets[task.name]).reshape(len(data), -1).any(1)


def _stretched(maps: Tensor) -> tuple[Tensor, list[float]]:
    """Maps with their lowest value at 0 and their highest at 1, and these: masks use little of their range."""
    low, high = float(maps.min()), float(maps.max())
    return (maps - low) / max(high - low, 1e-6), [low, high]


def _legend(task: Task) -> dict[str, str]:
    """What the colours of the task's pictures mean, where they mean classes."""
    return {label: "#{:02x}{:02x}{:02x}".format(*colour) for label, colour in task.legend().items()}


def _predicted(model: MultiTaskModel, inputs: Any, names: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Predictions in evaluation mode, and the attention maps that they were made with."""
    training = model.training
    model.eval()
    model.keep_maps = True
    try:
        return dict(model(inputs, names)), model.maps_inside()
    finally:
        model.train(training)
        model.keep_maps = False
