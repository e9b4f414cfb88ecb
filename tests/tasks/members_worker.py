"""Members of a task on several processes: one step and the scores, of a process's share of a batch."""

import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from polytask import balancing
from polytask.tasks import Many, ManyBinary, ManyMultiClass, ManyRegression, of_members, present

MEMBERS = torch.tensor([0, 0, 1, 2, 2, 0, 1, 3, 3, 3, 1])
"""The member of every row. With the first five rows on one process, member 2 is there alone, and 3 on the other."""
KINDS: dict[str, Many] = {
    "number": ManyRegression("y", 5),
    "binary": ManyBinary("y", 5),
    "classes": ManyMultiClass("y", 5, classes=3),
}
CUTS = {"uneven": 5, "no label on one": 7, "no row on one": 11}
"""How many rows the first process has; the others have the rest."""
CASES = [f"{kind}, {column or 'columns'}, {cut}" for kind in KINDS for column in ("", "user") for cut in CUTS]


def labelled(kind: str, column: str, cut: str) -> tuple[Many, Tensor]:
    """The task, knowing how many labels each member has, and the targets of the whole batch."""
    generator = torch.Generator().manual_seed(4)
    labels = (
        torch.randn(11, generator=generator) if kind == "number" else torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 1])
    )
    gone = torch.arange(11) >= (CUTS[cut] if cut == "no label on one" else 11)
    labels = labels.masked_fill(gone, torch.nan if labels.is_floating_point() else -100)
    settings = {name: value for name, value in KINDS[kind].describe().items() if name != "kind"}
    task = type(KINDS[kind])(**settings | {"column": column})
    if column:
        target = of_members(labels, MEMBERS)
    else:
        missing = torch.nan if labels.is_floating_point() else -100
        target = torch.full((11, 5), missing, dtype=labels.dtype)
        target[torch.arange(11), MEMBERS] = labels
    return task.fitted(target), target


def run(label: str, rank: int, world: int) -> dict[str, Tensor]:
    """The gradients of a step, and the scores, with a share of the batch on each of so many processes."""
    kind, column, cut = label.split(", ")
    task, target = labelled(kind, column.removeprefix("columns"), cut)
    first = slice(0, CUTS[cut]) if world > 1 else slice(0, 11)
    mine = first if rank == 0 else slice(CUTS[cut], 11)
    torch.manual_seed(0)
    body, head = nn.Linear(4, 6), task.head(6)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    inputs, target = torch.randn(11, 4)[mine], target[mine]
    features = body(inputs)
    prediction = head(features, {"user": MEMBERS[mine]}) if task.column else head(features)
    count = balancing.label_counts({"y": present(target).sum()})["y"]
    balancing.backward({"y": task.loss(prediction, target, count)}, balancing.Equal())
    found = {
        f"{name} {k}": each.grad
        for name, part in (("body", body), ("head", head))
        for k, each in enumerate(part.parameters())
    }
    _, each = task.by_member()
    metrics = task.metrics() | {"by member": each}
    if len(target):
        task.update(metrics, prediction.detach(), target)
    return found | {name: metric.compute() for name, metric in metrics.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    number, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    torch.save({label: run(label, number, world) for label in CASES}, Path(sys.argv[1]) / f"rank{number}.pt")
    distributed.destroy_process_group()
