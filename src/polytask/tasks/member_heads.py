"""A head for each of many members, computed together."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from polytask.errors import PolytaskError


class MemberHeads(nn.Module):
    r"""k heads as one parameter tensor: all of them for every row, or for each row its own member's.

    prediction_t(z) = V_t z + c_t; with a hidden layer V_t relu(U_t z + b_t) + c_t; with a common part, W z + a is added
    to all of them, and V_t and c_t begin at 0: a member that has few labels stays near what all have in common.

    Args:
        width: d, numbers in a feature.
        members: k.
        outputs: numbers per member, c.
        column: the input that says which member a row belongs to, integers [b]; "": rows belong to all.
        own: every member has a head of its own; else there is the common part alone.
        common: there is a common part.
        hidden: width of a hidden layer that every member has for itself; 0: none.

    Own weights begin as those of k layers `nn.Linear(d, c)` do, drawn from torch's global generator.

    Source: W + V_t is the form that Evgeniou, Pontil 2004, "Regularized Multi-Task Learning" give the functions of
    their tasks. (The paper could not be read; as others describe it.) There the size of V_t is penalised; here it is
    not: V_t begins at 0, and early stopping and weight decay keep it small.

    Cost: rows of all members: one matrix product. Rows of one member each: the weights of the members of a batch are
    gathered, [b, c, d], and with a hidden layer [b, hidden, d]; whatever k is. Gradients and the optimizer's step are
    of the whole [k, c, d] tensor.

    >>> heads = MemberHeads(width=4, members=1000, outputs=1, column="user")
    >>> heads(torch.zeros(3, 4), {"user": torch.tensor([7, 7, 999])}).shape
    torch.Size([3, 1])
    >>> MemberHeads(width=4, members=1000, outputs=1)(torch.zeros(3, 4)).shape
    torch.Size([3, 1000])
    """

    def __init__(
        self,
        width: int,
        members: int,
        outputs: int,
        column: str = "",
        own: bool = True,
        common: bool = False,
        hidden: int = 0,
    ) -> None:
        super().__init__()
        self.members, self.outputs, self.column = members, outputs, column
        self.common = nn.Linear(width, outputs) if common or not own else None
        self.inner = Layers(members, width, hidden) if own and hidden else None
        self.outer = Layers(members, hidden or width, outputs) if own else None
        if self.outer is not None and common:
            nn.init.zeros_(self.outer.weight)
            nn.init.zeros_(self.outer.bias)

    def forward(self, z: Float[Tensor, "b d"], inputs: Any = None) -> Tensor:
        """[b, c] of each row's own member, or [b, k c] of all."""
        said = None if self.common is None else self.common(z)
        if not self.column:
            shared = None if said is None else said[:, None].expand(-1, self.members, -1)
            return _sum(shared, self._own(z, None)).flatten(1)
        if self.outer is None:
            return _sum(said, None)
        return _sum(said, self._own(z, self._numbers(inputs)))

    def _own(self, z: Tensor, number: Tensor | None) -> Tensor | None:
        if self.outer is None:
            return None
        try:
            return self.outer(z if self.inner is None else self.inner(z, number).relu(), number)
        except IndexError:
            assert number is not None
            raise PolytaskError(
                f"input '{self.column}' holds numbers {int(number.min())} to {int(number.max())}, expected 0 to "
                f"{self.members - 1}: rows of members that were not there in training can't be told apart"
            ) from None

    def _numbers(self, inputs: Any) -> Int[Tensor, " b"]:
        if inputs is None:
            raise PolytaskError(
                f"heads whose rows belong to members read input '{self.column}', and this architecture does not show "
                "them the inputs; take HardSharing, MTAN, Conditioned, Adapters or a network per task"
            )
        return members_of_rows(inputs, self.column)


def members_of_rows(inputs: Any, column: str) -> Int[Tensor, " b"]:
    """The member of every row, which an input holds.

    Raises:
        PolytaskError: there is no such input.
    """
    if not isinstance(inputs, Mapping) or column not in inputs:
        came = f"inputs {sorted(inputs)}" if isinstance(inputs, Mapping) else type(inputs).__name__
        raise PolytaskError(
            f"expected an input '{column}' that says which member every row belongs to, integers [b]; got {came}; add "
            "it to the inputs (the preprocessing of a table does not make it: predict rows of a table from Python)"
        )
    return inputs[column].reshape(-1).long()


class Layers(nn.Module):
    """k linear layers in one tensor, with the initial weights of `nn.Linear`.

    >>> layers = Layers(2, 3, 1)
    >>> layers(torch.zeros(4, 3)).shape, layers(torch.zeros(4, 2, 3)).shape
    (torch.Size([4, 2, 1]), torch.Size([4, 2, 1]))
    >>> layers(torch.zeros(4, 3), torch.tensor([0, 1, 1, 0])).shape
    torch.Size([4, 1])
    """

    members_apart: ClassVar[bool] = True
    """Every member has a share of its own of all parameters: `sharing.describe` looks for this."""

    def __init__(self, members: int, width: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(members, outputs, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor, number: Tensor | None = None) -> Tensor:
        """Of rows [b, d], or rows with a feature per layer [b, k, d]: [b, k, o]; of the layers numbered [b]: [b, o]."""
        members, outputs, width = self.weight.shape
        if number is not None:
            weight = F.embedding(number, self.weight.flatten(1)).view(-1, outputs, width)
            return (weight @ x[..., None])[..., 0] + F.embedding(number, self.bias)
        if x.ndim == 2:
            return F.linear(x, self.weight.flatten(0, 1), self.bias.flatten()).unflatten(1, (members, outputs))
        return torch.einsum("bkd,kod->bko", x, self.weight) + self.bias


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor:
    if one is None or other is None:
        found = other if one is None else one
        assert found is not None
        return found
    return one + other
