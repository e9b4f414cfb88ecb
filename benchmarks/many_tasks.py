"""Time of a training step with 10, 100 and 1,000 small tasks: one object for all of them against one object each.

    python benchmarks/many_tasks.py [--members 10 100 1000] [--rounds 9]

Batches of 256 rows of 32 numbers, a trunk of two layers of 64, a linear head per task, squared errors, Adam; a step is
what `training.fit` repeats: gather the batch, losses, backward, optimizer. One thread, CPU time, medians over rounds of
alternating order.

rows        every row belongs to one task (users, schools); as k objects: k targets, all but one of them missing
columns     every row has a label for every tenth task, by chance (assays); as k objects: k targets
separate    rows, and a network per task (`sharing.Separate`): k copies of the trunk, in tensors

The first table has milliseconds, and the step of one object as a fraction of that of k objects, made in turns within
one run. The second one has the step of one object as a multiple of its step with the fewest tasks.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from polytask.balancing import Equal
from polytask.data import TensorData
from polytask.sharing import MLP, HardSharing, MultiTaskModel, Separate, TableInputs
from polytask.tasks import ManyRegression, Regression, Task, of_members
from polytask.training.steps import Steps

ROWS, BATCH, WIDTH = 2048, 256, 32
TRUNK = MLP(TableInputs(numbers=WIDTH), widths=(64, 64))
Step = Callable[[], None]


def labels(members: int, by_rows: bool) -> tuple[Tensor, Tensor]:
    """Targets [rows, members], missing ones NaN; and a member of every row."""
    generator = torch.Generator().manual_seed(0)
    member = torch.randint(members, (ROWS,), generator=generator)
    target = torch.randn(ROWS, members, generator=generator)
    hidden = torch.ones(ROWS, members, dtype=torch.bool)
    if not by_rows:
        hidden = torch.rand(ROWS, members, generator=generator) >= 0.1
    hidden[torch.arange(ROWS), member] = False
    return target.masked_fill(hidden, torch.nan), member


def one_object(members: int, by_rows: bool) -> tuple[list[Task], TensorData]:
    target, member = labels(members, by_rows)
    if by_rows:
        target = of_members(target[torch.arange(ROWS), member], member)
    task = ManyRegression("y", members, "member" if by_rows else "").fitted(target)
    return [task], TensorData(inputs() | {"member": member.int()}, {"y": target})


def objects(members: int, by_rows: bool) -> tuple[list[Task], TensorData]:
    target, _ = labels(members, by_rows)
    tasks: list[Task] = [Regression(f"y{k}") for k in range(members)]
    return tasks, TensorData(inputs(), {f"y{k}": target[:, k].clone() for k in range(members)})


def inputs() -> dict[str, Tensor]:
    numbers = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1))
    return {"numbers": numbers, "categories": torch.zeros(ROWS, 0, dtype=torch.int32)}


def step_of(tasks: list[Task], data: TensorData, make: Callable[..., MultiTaskModel] = HardSharing) -> Step:
    torch.manual_seed(0)
    model = make(TRUNK, tasks).train()
    balancer = Equal()
    balancer.bind(tasks)
    steps, optimizer = Steps(model, tasks, data, balancer), torch.optim.Adam(model.parameters())
    generator = torch.Generator().manual_seed(2)

    def step() -> None:
        steps.gradients(torch.randint(ROWS, (BATCH,), generator=generator))
        optimizer.step()
        optimizer.zero_grad()

    return step


def milliseconds(ways: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """The time of every way in every round, in turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            begun = time.process_time()
            ways[name]()
            if number >= 0:
                found[name].append(1e3 * (time.process_time() - begun))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    ways: dict[str, Step] = {}
    for k in args.members:
        for layout, by_rows in (("rows", True), ("columns", False)):
            ways[f"{layout} {k} one"] = step_of(*one_object(k, by_rows))
            ways[f"{layout} {k} each"] = step_of(*objects(k, by_rows))
        ways[f"separate {k} one"] = step_of(*one_object(k, True), Separate)
    told = milliseconds(ways, args.rounds)
    counts = [f"{k:,} tasks" for k in args.members]
    print(f"| step | {' | '.join(counts)} |\n| --- |{' ---: |' * len(counts)}")
    for layout in ("rows", "columns"):
        for way, words in (("one", "one object"), ("each", "an object each")):
            times = (statistics.median(told[f"{layout} {k} {way}"]) for k in args.members)
            print(f"| {layout}, {words}, ms | {' | '.join(f'{each:.3g}' for each in times)} |")
        print(f"| {layout}, one object / k objects | {' | '.join(ratios(told, layout, args.members))} |")
    times = (statistics.median(told[f"separate {k} one"]) for k in args.members)
    print(f"| separate networks, ms | {' | '.join(f'{each:.3g}' for each in times)} |\n")
    print(f"| one object, as a multiple | {' | '.join(counts)} |\n| --- |{' ---: |' * len(counts)}")
    for layout in ("rows", "columns", "separate"):
        times = [statistics.median(told[f"{layout} {k} one"]) for k in args.members]
        print(f"| {layout} | {' | '.join(f'{each / times[0]:.2f}' for each in times)} |")


def ratios(told: dict[str, list[float]], layout: str, members: list[int]) -> list[str]:
    """Medians of the ratios of one round each."""
    pairs = (zip(told[f"{layout} {k} one"], told[f"{layout} {k} each"], strict=True) for k in members)
    return [f"{statistics.median(a / b for a, b in pair):.3g}" for pair in pairs]


if __name__ == "__main__":
    main()
