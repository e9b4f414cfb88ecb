"""One of two processes of the distributed tests: runs every balancer, and writes what came out as one file per rank."""

import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from balancing_cases import CASES, Network, batch
from torch import Tensor

from polytask import balancing
from polytask.balancing import Accumulation, NonFinite, backward
from polytask.errors import PolytaskError
from polytask.training import save_tree

NAMES = ["a", "b", "c"]
STEPS = 3


def joined(step: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Thirteen rows: seven on process 0, six on process 1, where task c has not one label."""
    x, targets = batch(NAMES, rows=13, seed=step + 1)
    targets["c"][1::2] = torch.nan
    targets["b"][:5:2] = torch.nan
    return x, targets


def run(case, way: str, rank: int, world: int) -> dict[str, object]:
    """Three steps; as training.fit does, sums are divided by the count in the whole batch over the processes."""
    net, balancer = Network(NAMES), case.make(NAMES)
    found: dict[str, object] = {}
    for step in range(STEPS):
        net.zero_grad()
        x, targets = joined(step)
        counts = {name: (~t.isnan()).sum() / world for name, t in targets.items()}
        mine = torch.arange(13)[rank::world]
        pieces = 2 if way == "pieces" else 1
        pending = None
        for rows in mine.tensor_split(pieces):
            sums, z = net.sums(x[rows], {name: t[rows] for name, t in targets.items()})
            pending = pending or Accumulation(balancer, pieces, features=z if way == "features" else None)
            pending.add({name: total / counts[name] for name, total in sums.items()})
        told = pending.finish()
        found |= {f"{step} {name}": g for name, g in net.gradients().items()}
        found[f"{step} losses"] = told.losses
        if told.weights is not None:
            found[f"{step} weights"] = told.weights
        for k, p in enumerate(balancer.parameters()):
            found[f"{step} learned {k}"] = p.grad.clone()
            p.data -= 0.1 * p.grad
            p.grad = None
        balancer.end_epoch()
    return found


def ways(case) -> list[str]:
    """GradDrop at features works on one process only, and says so."""
    return ["parameters", "pieces", *(["features"] if case.whole_tasks else [])]


def everything(rank: int, world: int) -> dict[str, object]:
    return {f"{case.name}, {way}": run(case, way, rank, world) for case in CASES for way in ways(case)}


def errors(rank: int) -> dict[str, str]:
    """What each of the two processes is told; nobody may hang."""
    told = {}
    for case in CASES:
        net = Network(NAMES)
        names = NAMES if rank == 0 else ["a", "c"]
        try:
            backward(net.losses(*batch(names))[0], case.make(NAMES))
            told[f"{case.name}, different tasks"] = "no error"
        except PolytaskError as error:
            told[f"{case.name}, different tasks"] = str(error)
        losses, _ = net.losses(*batch(NAMES))
        try:
            backward(losses | ({"b": losses["b"] * torch.nan} if rank else {}), case.make(NAMES))
            told[f"{case.name}, NaN on one"] = "no error"
        except NonFinite as error:
            told[f"{case.name}, NaN on one"] = str(error)
        assert all(p.grad is None for p in net.parameters())
    net = Network(NAMES)
    losses, z = net.losses(*batch(NAMES))
    try:
        backward(losses, balancing.GradDrop(), features=z)
    except PolytaskError as error:
        told["GradDrop at features"] = str(error)
    return told


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=40))
    rank, world = dist.get_rank(), dist.get_world_size()
    save_tree({"found": everything(rank, world), "errors": errors(rank)}, folder / f"rank{rank}.safetensors")
    dist.barrier()
    dist.destroy_process_group()
