"""Many tasks drawn around a common structure: how much is shared is known."""

import math

import torch
from torch import Tensor

from polytask.data import Sources, TensorData
from polytask.errors import PolytaskError
from polytask.problems.problem import SPLITS, Problem
from polytask.sharing import MLP, TableInputs
from polytask.tasks import ManyRegression, of_members

INPUTS, WAVES, FREQUENCY = 4, 6, 0.5
FEWEST = 20


def many_sines(
    members: int = 100, rows: int = 40, spread: float = 0.7, noise: float = 0.3, seed: int = 0, columns: bool = False
) -> Problem:
    r"""Many functions of four numbers, each a mixture of the same six waves: how alike they are is a setting.

    Member t is y = sum_j w_tj s_j(x) + noise e with waves s_j(x) = sqrt(2) sin(u_j x + p_j) that all members share,
    w_tj = (m_j + spread v_tj) / sqrt(6), m_j = 1 or -1, and v_tj, e ~ N(0, 1). Each of the four numbers of u_j is drawn
    from N(0, 1/4), of x from N(0, 1), and p_j uniformly on the circle.

    * Input: 4 numbers x, and `member`, the number of the row's member.
    * Task: `y`, a number per member (`tasks.ManyRegression`).
    * What is known: the root mean squared error of the true functions is `noise`; that of the best single function for
      all members, over all rows, is about sqrt(noise^2 + spread^2). The waves take many rows to learn and are common
      to all; a member's six weights are its own and take few. So with few rows per member separate networks lose, one
      pooled network stays at its bound, and a shared trunk with a head per member can come near `noise`. With the
      defaults and the suggested budget (seed 0) the mean error over the members is .39 with shared trunk, .55 with
      separate networks, .69 pooled, and 1.02 for the best constant of every member.
    * Size: for training, a member has from half to twice `rows` rows, on a logarithmic scale uniformly; for validation
      `rows` / 4, for test `rows`.
    * Split: every row is drawn for itself.
    * Split: rows of every split are drawn anew.
    * Source: drawn here. Licence: that of polytask.

    Args:
        members: how many.
        rows: for training, per member, about.
        spread: how different the members are; 0: all are one function.
        noise: standard deviation of what can't be predicted.
        seed: draws functions and rows.
        columns: no row belongs to one member: `members` columns of targets, each row with a label for one in ten of
            them on average (at least one), as in tables of assays: more often for some members than for others; about
            as many labels in all.

    Raises:
        PolytaskError: fewer than two members, too few rows, or numbers below 0.

    Cost: milliseconds.

    >>> problem = many_sines(members=5, rows=20)
    >>> [len(problem.splits[split]) for split in ("validation", "test")], problem.tasks[0].training_labels
    ([25, 100], (...))
    >>> many_sines(members=50, rows=20, columns=True).splits["test"].targets["y"].shape
    torch.Size([200, 50])
    """
    if members < 2 or rows < FEWEST or not (spread >= 0 and noise >= 0):
        raise PolytaskError(
            f"many_sines needs at least 2 members, {FEWEST} rows for each, and spread and noise of 0 or more; got "
            f"members={members}, rows={rows}, spread={spread}, noise={noise}"
        )
    generator = torch.Generator().manual_seed(seed)
    draw = _Drawing(members, spread, noise, generator)
    sizes = zip(SPLITS, (rows * draw.wealth, rows // 4 * draw.even, rows * draw.even), strict=True)
    splits = {split: (draw.columns if columns else draw.rows)(each) for split, each in sizes}
    task = ManyRegression("y", members, "" if columns else "member")
    pooled = math.hypot(noise, spread)
    return Problem(
        name="many_sines",
        tasks=(task.fitted(splits["train"].targets["y"]),),
        splits=splits,
        backbone=MLP(TableInputs(numbers=INPUTS), widths=(64, 64)),
        summary=f"{members} functions of {INPUTS} numbers, mixtures of the same {WAVES} waves",
        source="drawn by polytask",
        licence="that of polytask",
        suggested={"epochs": 40, "batch_size": 16 if columns else 128, "learning_rate": 3e-3},
        spec={
            "name": "many_sines",
            "args": {
                "members": members,
                "rows": rows,
                "spread": spread,
                "noise": noise,
                "seed": seed,
                "columns": columns,
            },
        },
        notes=(
            f"the error of the true functions is {noise:g}; that of the best single function for all members, "
            f"over all rows, is about {pooled:.3g}"
            + (" (in units of y; metrics are in deviations of each member's training labels)" if columns else ""),
        ),
    )


class _Drawing:
    """The functions, and rows of them."""

    def __init__(self, members: int, spread: float, noise: float, generator: torch.Generator) -> None:
        self.members, self.noise, self.generator = members, noise, generator
        self.directions, self.phases = FREQUENCY * self._normal(INPUTS, WAVES), 2 * math.pi * self._uniform(WAVES)
        mean = 1 - 2 * (self._uniform(WAVES) < 0.5).float()
        self.weights = (mean + spread * self._normal(members, WAVES)) / math.sqrt(WAVES)
        self.wealth, self.even = 2 ** (2 * self._uniform(members) - 1), torch.ones(members)

    def rows(self, each: Tensor) -> TensorData:
        """Rows that each belong to one member, so many for each."""
        member = torch.arange(self.members).repeat_interleave(each.round().long())
        x = self._normal(len(member), INPUTS)
        y = (self._waves(x) * self.weights[member]).sum(1)
        label = y + self.noise * self._normal(len(member))
        sources = Sources(tuple(map(str, range(self.members))), member)
        return TensorData(_inputs(x) | {"member": member.int()}, {"y": of_members(label, member)}, sources=sources)

    def columns(self, each: Tensor) -> TensorData:
        """Rows with a label for a tenth of the members, so many in all for each, about."""
        x = self._normal(round(10 * float(each.mean())), INPUTS)
        y = self._waves(x) @ self.weights.T
        hidden = self._uniform(*y.shape) >= 0.1 * each / each.mean()
        first = (self._uniform(len(x)) * self.members).long()
        hidden[torch.arange(len(x)), first] = False
        return TensorData(_inputs(x), {"y": (y + self.noise * self._normal(*y.shape)).masked_fill(hidden, torch.nan)})

    def _waves(self, x: Tensor) -> Tensor:
        return math.sqrt(2) * (x @ self.directions + self.phases).sin()

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator)


def _inputs(x: Tensor) -> dict[str, Tensor]:
    """Inputs of a table of numbers alone."""
    return {"numbers": x, "categories": torch.zeros(len(x), 0, dtype=torch.int32)}
