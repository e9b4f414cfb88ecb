"""What each architecture costs: a training step and a forward pass as ratios, in turns within one run.

    python benchmarks/architectures.py [--size 64] [--batch 32] [--rounds 15] [--markdown]

Three tasks that are maps (7 classes, depth, normals) on images of `size` x `size`; the trunk is
SmallCNN(3, (32, 64, 128, 128)) with FPN(32) decoders, for every architecture the same; one thread; medians over rounds
of alternating order.

step        forward and backward of the sum of the losses, with penalty and deep supervision where there are any, as a
            multiple of that of hard sharing
of apart    the same as a multiple of that of three independent networks
forward     the prediction of all tasks without a graph, as a multiple of the three single-task networks one by one
parameters, multiply-adds, memory (of a forward pass): as multiples of the three single-task networks together
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from polytask import sharing, tasks
from polytask.evaluation import forward_cost, latencies
from polytask.sharing import MultiTaskModel

TASKS = (tasks.Segmentation("segmentation", classes=7), tasks.Depth("depth"), tasks.Normals("normals"))
TRUNK = sharing.SmallCNN(3, widths=(32, 64, 128, 128))
ARCHITECTURES: Mapping[str, Callable[..., MultiTaskModel]] = {
    "HardSharing": sharing.HardSharing,
    "HardSharing(shared_stages=2)": partial(sharing.HardSharing, shared_stages=2),
    "Independent": sharing.Independent,
    "SoftSharing": sharing.SoftSharing,
    "CrossStitch": sharing.CrossStitch,
    "CrossStitch(per_channel=True)": partial(sharing.CrossStitch, per_channel=True),
    "NDDR": sharing.NDDR,
    "Sluice": sharing.Sluice,
    "MTAN": sharing.MTAN,
    "Conditioned(FiLM())": partial(sharing.Conditioned, by=sharing.FiLM()),
    "Adapters(LoRA())": partial(sharing.Adapters, by=sharing.LoRA()),
    "ASTMT": sharing.ASTMT,
    "PADNet": sharing.PADNet,
    "Cascade": sharing.Cascade,
    "MTINet": sharing.MTINet,
}


def a_batch(size: int, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
    images = torch.rand(batch, 3, size, size)
    normals = torch.nn.functional.normalize(torch.randn(batch, 3, size, size), dim=1)
    labels = torch.randint(0, 7, (batch, size, size), dtype=torch.int8)
    return images, {"segmentation": labels, "depth": 1 + torch.rand(batch, size, size), "normals": normals}


def step(model: MultiTaskModel, images: Tensor, targets: dict[str, Tensor]) -> None:
    predictions = model(images)
    losses = tasks.losses(TASKS, predictions, targets)
    for task in TASKS:
        for more in model.intermediate().get(task.name, []):
            losses[task.name] = losses[task.name] + task.loss(more, targets[task.name])
    penalty = model.penalty(losses)
    total = torch.stack(list(losses.values())).sum()
    (total if penalty is None else total + penalty).backward()
    for parameter in model.parameters():
        parameter.grad = None


def step_times(calls: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each call, in turns."""
    seen: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name in list(calls) if turn % 2 else reversed(list(calls)):
            begun = time.process_time()
            calls[name]()
            if turn:
                seen[name].append(time.process_time() - begun)
    return {name: statistics.median(times) for name, times in seen.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--markdown", action="store_true", help="as a table for docs/perception.md")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, targets = a_batch(asked.size, asked.batch)
    models = {name: make(TRUNK, TASKS) for name, make in ARCHITECTURES.items()}
    alone = [sharing.HardSharing(TRUNK, [task]) for task in TASKS]

    steps = step_times({name: partial(step, model, images, targets) for name, model in models.items()}, asked.rounds)
    for model in [*models.values(), *alone]:
        model.eval()
    calls: dict[str, Callable[[], object]] = {name: partial(model, images) for name, model in models.items()}
    forward = latencies(calls | {"": lambda: [model(images) for model in alone]}, asked.rounds)
    costs = {name: forward_cost(model, images[:2]) for name, model in models.items()}
    apart = [forward_cost(model, images[:2]) for model in alone]

    columns = ("architecture", "step", "of apart", "forward", "parameters", "multiply-adds", "memory")
    rows = [
        (
            name,
            steps[name] / steps["HardSharing"],
            steps[name] / steps["Independent"],
            forward[name] / forward[""],
            costs[name].parameters / sum(each.parameters for each in apart),
            costs[name].multiply_adds / sum(each.multiply_adds for each in apart),
            costs[name].memory_mib / sum(each.memory_mib for each in apart),
        )
        for name in models
    ]
    between = " | " if asked.markdown else "  "
    print(between.join(f"{column:>13}" if k else f"{column:<30}" for k, column in enumerate(columns)))
    if asked.markdown:
        print(" | ".join(["---", *["---:"] * 6]))
    for name, *numbers in rows:
        print(between.join([f"{name:<30}", *(f"{each:>13.2f}" for each in numbers)]))
    hard, apart_ms = 1000 * steps["HardSharing"], 1000 * forward[""]
    print(f"\nA step of hard sharing: {hard:.0f} ms; forward passes of the three networks: {apart_ms:.0f} ms.")


if __name__ == "__main__":
    main()
