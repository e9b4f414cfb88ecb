"""What `fit` and the loader cost: ratios to a hand-written loop, measured in turns within one run.

    python benchmarks/training.py [--rounds 7] [--epochs 4]

Hand-written and `fit` train the same network (hard sharing, small CNN) on `digits` with the same batches, optimizer and
evaluation on validation data; `fit` does besides what it does by default: checks of the losses, balancing, selection by
delta_m over all metrics, records. CPU time and wall time are medians over rounds; the order within a round alternates.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from polytask.balancing import Equal
from polytask.data import Batches
from polytask.problems import digits
from polytask.sharing import HardSharing
from polytask.training import Budget, fit

problem = digits()
train, validation = problem.splits["train"], problem.splits["validation"]


def by_hand(epochs: int, batch_size: int) -> None:
    """The loop that people write: no polytask but for the network."""
    model = HardSharing(problem.backbone, problem.tasks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
    steps = len(train) // batch_size * epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    x, left, right = train.inputs, train.targets["left"], train.targets["right"]
    best, kept = -1.0, {}
    for _ in range(epochs):
        model.train()
        order = torch.randperm(len(x))
        for start in range(0, len(x) - batch_size + 1, batch_size):
            rows = order[start : start + batch_size]
            predicted = model(x[rows])
            loss = F.cross_entropy(predicted["left"], left[rows]) + F.cross_entropy(predicted["right"], right[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            right_ones = 0
            for start in range(0, len(validation), 1024):
                predicted = model(validation.inputs[start : start + 1024])
                for task in ("left", "right"):
                    truth = validation.targets[task][start : start + 1024]
                    right_ones += int((predicted[task].argmax(1) == truth).sum())
            if right_ones > best:
                best, kept = right_ones, {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(kept)


def by_fit(epochs: int, batch_size: int) -> None:
    """The same by `fit`."""
    model = HardSharing(problem.backbone, problem.tasks)
    budget = Budget(epochs=epochs, batch_size=batch_size, learning_rate=3e-3)
    fit(model, problem.tasks, train, validation, Equal(), budget)


def bare_loader(epochs: int, batch_size: int) -> None:
    """Only the batches, nothing done with them."""
    for epoch in range(epochs):
        for _ in Batches(train, batch_size, shuffle=True, drop_last=True).at(epoch):
            pass


def timed(do: Callable[[], None]) -> tuple[float, float]:
    """CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    do()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=128)
    args = parser.parse_args()
    torch.set_num_threads(1)
    ways = {"by hand": by_hand, "fit": by_fit, "bare loader": bare_loader}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for way in ways.values():
        way(1, args.batch_size)  # warm up
    for number in range(args.rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            seconds[name].append(timed(lambda way=ways[name]: way(args.epochs, args.batch_size)))  # type: ignore[misc]
    print(f"| digits, batch {args.batch_size}, {args.epochs} epochs | CPU s | wall s | CPU ratio | wall ratio |")
    print("| --- | --- | --- | --- | --- |")
    for name, found in seconds.items():
        cpu, wall = (statistics.median(each[k] for each in found) for k in (0, 1))
        ratios = [
            statistics.median(each[k] / hand[k] for each, hand in zip(found, seconds["by hand"], strict=True))
            for k in (0, 1)
        ]
        print(f"| {name} | {cpu:.3f} | {wall:.3f} | {ratios[0]:.3f} | {ratios[1]:.3f} |")


if __name__ == "__main__":
    main()
