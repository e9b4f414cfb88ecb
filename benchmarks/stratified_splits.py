"""How nearly stratified splits meet their shares, and how long they take.

    python benchmarks/stratified_splits.py

Rows have four targets: 9 classes of unequal size, a class of 2 % that half of the rows have no label of, numbers (in 10
quantiles) and 8 yes-or-no labels. Printed is by how many rows a split of 70, 15 and 15 % has too many or too few of a
class, at most and on average, and the seconds of processor time; groups are of 10 rows on average. The package
iterative-stratification (the algorithm of Sechidis, Tsoumakas, Vlahavas 2011) is measured beside where it is installed;
it keeps no groups together.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from polytask.data import split, split_stratified
from polytask.data.splits import DEFAULT_FRACTIONS
from polytask.data.strata import strata

try:
    from iterstrat.ml_stratifiers import IterativeStratification
except ImportError:
    IterativeStratification = None

SHARES = list(DEFAULT_FRACTIONS.values())


def targets(rows: int) -> dict[str, Tensor]:
    drawn = torch.Generator().manual_seed(rows)
    rare = (torch.rand(rows, generator=drawn) < 0.02).long()
    rare[torch.rand(rows, generator=drawn) < 0.5] = -100
    return {
        "classes": torch.rand(rows, generator=drawn).mul(3).square().long(),
        "rare": rare,
        "numbers": torch.randn(rows, generator=drawn),
        "labels": (torch.rand(rows, 8, generator=drawn) < torch.linspace(0.01, 0.3, 8)).long(),
    }


def errors(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> tuple[float, float]:
    off = []
    for column in torch.cat([strata(target, 10) for target in wanted.values()], 1).unbind(1):
        whole = torch.bincount(column[column >= 0])
        for share, rows in zip(SHARES, found.values(), strict=True):
            mine = column[rows]
            off.append((torch.bincount(mine[mine >= 0], minlength=len(whole)) - share * whole).abs())
    return torch.cat(off).max().item(), torch.cat(off).mean().item()


def by_package(wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Its own function, as the splitters of the package make two parts only; a column for every class."""
    columns = []
    for column in torch.cat([strata(target, 10) for target in wanted.values()], 1).unbind(1):
        columns += [column == each for each in column[column >= 0].unique()]
    hot, drawn = torch.stack(columns, 1).numpy(), np.random.RandomState(0)
    order = drawn.permutation(len(hot))
    place = np.empty(len(hot), int)
    place[order] = IterativeStratification(hot[order], np.array(SHARES), drawn)
    return {name: torch.from_numpy(np.flatnonzero(place == k)) for k, name in enumerate(DEFAULT_FRACTIONS)}


def main() -> None:
    print(f"{'rows':>9}  {'split':24} {'at most':>8} {'mean':>8} {'seconds':>8}")
    for rows in (1_000, 20_000, 100_000, 1_000_000):
        wanted = targets(rows)
        groups = torch.randint(0, rows // 10, (rows,), generator=torch.Generator().manual_seed(0))
        ways: dict[str, Callable[[], dict[str, Tensor]]] = {
            "random": partial(split, rows),
            "stratified": partial(split_stratified, wanted),
            "random groups": partial(split, rows, groups=groups),
            "stratified groups": partial(split_stratified, wanted, groups=groups),
        }
        if IterativeStratification is not None and rows < 1_000_000:
            ways["iterative-stratification"] = partial(by_package, wanted)
        for name, way in ways.items():
            start = time.process_time()
            found = way()
            took = time.process_time() - start
            most, mean = errors(wanted, found)
            print(f"{rows:9,}  {name:24} {most:8.1f} {mean:8.2f} {took:8.2f}", flush=True)


if __name__ == "__main__":
    main()
