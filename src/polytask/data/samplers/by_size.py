"""Shares by the number of rows, from proportional to uniform."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from polytask.data.samplers.sampler import Sampler
from polytask.errors import PolytaskError


@dataclass(frozen=True)
class Proportional(Sampler):
    r"""Every pool as often as it has rows.

    $$p_k = n_k / \textstyle\sum_j n_j$$

    With `per="row"` and one data set per task every row comes once in an epoch; not in the order of no sampler.

    Args:
        per, labels: see `Sampler`.

    >>> Proportional().shares(torch.tensor([30.0, 10.0]))
    tensor([0.7500, 0.2500])
    """

    def shares(self, sizes: Tensor, progress: float = 0.0, errors: Tensor | None = None) -> Tensor:
        return sizes / sizes.sum()


@dataclass(frozen=True)
class Uniform(Sampler):
    r"""Every pool equally often, whatever its size: the rows of a small one come again and again.

    $$p_k = 1 / K$$

    Args:
        per, labels: see `Sampler`.

    >>> Uniform().shares(torch.tensor([30.0, 10.0]))
    tensor([0.5000, 0.5000])
    """

    def shares(self, sizes: Tensor, progress: float = 0.0, errors: Tensor | None = None) -> Tensor:
        return torch.full_like(sizes, 1 / len(sizes))


@dataclass(frozen=True)
class Temperature(Sampler):
    r"""Between proportional (t = 1) and uniform (t to infinity).

    $$p_k \propto \min(n_k, m)^{1/t}$$

    Args:
        t: the temperature. 2 takes the square root of the sizes; in Raffel et al. it was one of those tried, and
            square-root sampling is also an option of the code of Stickland & Murray 2019.
        most: m, the size that larger pools are taken for; None: as large as they are.
        per, labels: see `Sampler`.

    Raises:
        PolytaskError: numbers that are not positive.

    Source: Raffel et al. 2020, Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer
    ("temperature-scaled mixing", with the "artificial data set size limit" `most`); the formula was read in its
    library SeqIO, `mixing_rate_num_examples`. How often each pool comes is not drawn independently here (see
    `Sampler`).

    >>> Temperature(2).shares(torch.tensor([90.0, 10.0]))
    tensor([0.7500, 0.2500])
    """

    t: float = 2.0
    most: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.t < float("inf"):
            raise PolytaskError(f"a temperature must be a positive number, got {self.t}; for equal shares use Uniform")
        if self.most is not None and not self.most >= 1:
            raise PolytaskError(f"the size that pools are cut to must be at least 1, got most={self.most}")

    def shares(self, sizes: Tensor, progress: float = 0.0, errors: Tensor | None = None) -> Tensor:
        return _power(sizes if self.most is None else sizes.clamp_max(self.most), 1 / self.t)


@dataclass(frozen=True)
class Annealed(Sampler):
    r"""From proportional at the beginning towards uniform at the end, an epoch at a time.

    $$p_k \propto n_k^{\alpha_e}, \quad \alpha_e = \alpha_1 + (\alpha_E - \alpha_1) \frac{e - 1}{E - 1}$$

    in epoch e of E. Where training stops early, the last epochs are not reached.

    Args:
        start: the exponent of the first epoch, 1 as published.
        end: that of the last one, 0.2 as published: alpha = 1 - 0.8 (e - 1) / (E - 1).
        per, labels: see `Sampler`; as published per="batch".

    Raises:
        PolytaskError: an exponent that is negative or not finite.

    Source: Stickland, Murray 2019, BERT and PALs: Projected Attention Layers for Efficient Adaptation in Multi-Task
    Learning ("annealed sampling"). Read in the authors' code (`run_multi_task.py`), not in the paper. There the task
    of every batch is drawn independently, and the epoch is a fixed number of steps; here see `Sampler`, and an epoch is
    as many rows as the data have. With one epoch, which leaves theirs undefined, it is `start`.

    >>> half_way = Annealed(1, 0).shares(torch.tensor([90.0, 10.0]), progress=0.5)
    >>> half_way
    tensor([0.7500, 0.2500])
    """

    start: float = 1.0
    end: float = 0.2

    moves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("start", "end"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise PolytaskError(f"{name} must be an exponent of at least 0, got {getattr(self, name)}")

    def shares(self, sizes: Tensor, progress: float = 0.0, errors: Tensor | None = None) -> Tensor:
        return _power(sizes, self.start + (self.end - self.start) * progress)


def _power(sizes: Tensor, exponent: float) -> Tensor:
    """n^a, divided by the sum; the largest is 1 on the way, so that nothing overflows."""
    found = (sizes / sizes.max()) ** exponent
    return found / found.sum()
