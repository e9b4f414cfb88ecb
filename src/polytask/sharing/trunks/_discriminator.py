"""A network that tells tasks by their gradients, against which the features are learned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polytask.errors import PolytaskError
from polytask.sharing.heads import pool
from polytask.sharing.trunks._attention import as_map


@dataclass(frozen=True)
class GradientDiscriminator:
    """A small network that guesses which task a gradient comes from: W2 pool(relu(W1 g + b1)) + b2.

    Args:
        width: of W1 g, at every position.
        strength: the factor of the reversed gradient by which the features learn to mislead it. Ours; the larger, the
            more the features are learned for that instead of for the tasks.

    >>> import torch
    >>> discriminator = GradientDiscriminator(width=8)(3, ["a", "b"])  # of gradients of 3 channels
    >>> discriminator({"a": torch.randn(4, 3), "b": torch.randn(4, 3)}).shape
    torch.Size([])
    """

    width: int = 64
    strength: float = 0.1

    def __post_init__(self) -> None:
        if self.width < 1 or not 0 < self.strength < float("inf"):
            raise PolytaskError(f"expected width >= 1 and a positive strength, got {self}")

    def __call__(self, channels: int, tasks: Sequence[str]) -> "Discriminator":
        return Discriminator(channels, tuple(tasks), self.width, self.strength)


class Discriminator(nn.Module):
    """`GradientDiscriminator` for gradients of so many channels.

    Args:
        channels: of the feature.
        tasks: their names.
        width, strength: as in `GradientDiscriminator`.
    """

    def __init__(self, channels: int, tasks: tuple[str, ...], width: int, strength: float) -> None:
        super().__init__()
        self.tasks = tasks
        self.strength = strength
        self.hidden = nn.Conv2d(channels, width, 1)
        self.guess = nn.Linear(width, len(tasks))

    def forward(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Its cross-entropy, a scalar, of {task: gradient of its loss at the feature, with its graph}.

        Its own parameters have the gradient of that; all others that of -strength times it.
        """
        shown, labels, there = [], [], []
        for task, gradient in gradients.items():
            one = as_map(gradient.to(self.hidden.weight))
            largest = one.detach().abs().amax((1, 2, 3))
            there.append(largest > 0)  # a sample without a label of the task has no gradient: nothing to guess from
            shown.append(_reversed(_of_unit_size(one, largest), self.strength))
            labels.append(torch.full_like(largest, self.tasks.index(task), dtype=torch.long))
        guesses = self.guess(pool(F.relu(self.hidden(torch.cat(shown)))))
        found = F.cross_entropy(guesses, torch.cat(labels), reduction="none")
        present = torch.cat(there).to(found)
        return (found * present).sum() / present.sum().clamp(min=1.0)


def _of_unit_size(gradient: Tensor, largest: Tensor) -> Tensor:
    """Every sample's gradient divided by its root mean square; zeros stay zeros."""
    there = largest > 0
    scaled = gradient / torch.where(there, largest, 1)[:, None, None, None]  # whose squares are no longer too small
    squares = scaled.square().mean((1, 2, 3))
    return scaled / torch.where(there, squares, 1).sqrt()[:, None, None, None]


def _reversed(x: Tensor, strength: float) -> Tensor:
    """x, with -strength times the gradient."""
    return (1 + strength) * x.detach() - strength * x
