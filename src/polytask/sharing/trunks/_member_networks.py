"""The networks of the members of a task, computed together where that can be."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from polytask.errors import PolytaskError
from polytask.sharing.backbone import Backbone, build
from polytask.sharing.heads import pool
from polytask.tasks import Many
from polytask.tasks.member_heads import members_of_rows

MOST = 1 << 28
"""Parameters, of all members together, up to which networks are made: 1 GiB of them."""


def member_networks(backbone: Callable[[], Backbone], task: Many) -> nn.Module:
    """A network for every member: [b, c] of each row's own member, or [b, k c] of all.

    Raises:
        PolytaskError: they would have more parameters than `MOST`.
    """
    first, members = _Alone(backbone, task), len(task.member_names)
    size = sum(each.numel() for each in first.parameters())
    if members * size > MOST:
        raise PolytaskError(
            f"task '{task.name}' has {members:,} members, and separate networks of {size:,} parameters for all of them "
            f"would have {members * size:,}; take a smaller backbone, or sharing.HardSharing"
        )
    networks = [first, *(_Alone(backbone, task) for _ in range(members - 1))]
    return (OneByOne if any(True for _ in first.buffers()) else Together)(networks, task.column)


class OneByOne(nn.Module):
    """The networks of all members, as a list."""

    members_apart: ClassVar[bool] = True

    def __init__(self, networks: Sequence[nn.Module], column: str) -> None:
        super().__init__()
        self.networks, self.column = nn.ModuleList(networks), column

    def forward(self, inputs: Any) -> Tensor:
        """[b, c] of each row's own member, or [b, k c] of all."""
        if not self.column:
            return torch.cat([network(inputs) for network in self.networks], 1)
        number = members_of_rows(inputs, self.column)
        places = [(number == k).nonzero()[:, 0] for k in range(len(self.networks))]
        found = [
            network({name: each[rows] for name, each in inputs.items() if name != self.column})
            for network, rows in zip(self.networks, places, strict=True)
            if len(rows)
        ]
        return torch.cat(found)[torch.cat(places).argsort()]


class Together(nn.Module):
    """The networks of all members, in tensors. Parameters of `network` have one axis more than it shows: [k, ...]."""

    members_apart: ClassVar[bool] = True

    def __init__(self, networks: Sequence[nn.Module], column: str) -> None:
        super().__init__()
        self.column, self.members = column, len(networks)
        several = [dict(each.named_parameters()) for each in networks]
        self.network = networks[0]
        for name, each in list(self.network.named_parameters()):
            module, leaf = self.network.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
            stacked = torch.stack([one[name].detach() for one in several])
            setattr(module, leaf, nn.Parameter(stacked, requires_grad=each.requires_grad))

    def forward(self, inputs: Any) -> Tensor:
        """[b, c] of each row's own member, or [b, k c] of all."""
        weights = dict(self.network.named_parameters())
        if not self.column:
            return self._run(weights, inputs, None).transpose(0, 1).flatten(1)
        return self._routed(weights, inputs)

    def _routed(self, weights: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        number = members_of_rows(inputs, self.column)
        found: list[Tensor] = []
        places: list[Tensor] = []
        for members, rows, real in groups(number, self.members):
            chosen = {name: each.index_select(0, members) for name, each in weights.items()}
            shown = {name: each[rows] for name, each in inputs.items() if name != self.column}
            found.append(self._run(chosen, shown, 0)[real])
            places.append(rows[real])
        return torch.cat(found)[torch.cat(places).argsort()]

    def _run(self, weights: Mapping[str, Tensor], inputs: Any, axis: int | None) -> Tensor:
        """Several networks, each on inputs of its own (axis 0) or all on the same: [networks, rows, c]."""

        def one(own: Mapping[str, Tensor], shown: Any) -> Tensor:
            return functional_call(self.network, dict(own), (shown,))

        return vmap(one, in_dims=(0, axis), randomness="different")(weights, inputs)


def groups(number: Tensor, members: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Rows by member, members with about as many rows together.

    Args:
        number: [b], the member of every row.
        members: k.

    Returns:
        For each group: its members [m], their rows [m, r], shorter ones filled up with their first row, and which of
        these are real [m, r].

    >>> for each, rows, real in groups(torch.tensor([2, 0, 2, 2]), 3):
    ...     print(each.tolist(), rows.tolist(), real.tolist())
    [0] [[1]] [[True]]
    [2] [[0, 2, 3]] [[True, True, True]]
    """
    counts = torch.bincount(number, minlength=members)
    order, begins = number.argsort(stable=True), counts.cumsum(0) - counts
    size = torch.where(counts > 0, counts.clamp(min=1).double().log2().ceil(), -1)
    made = []
    for each in size[counts > 0].unique():
        those = (size == each).nonzero()[:, 0]
        step = torch.arange(int(counts[those].max()), device=number.device)
        real = step < counts[those, None]
        made.append((those, order[begins[those, None] + torch.where(real, step, 0)], real))
    return made


class _Alone(nn.Module):
    """The network of one member."""

    def __init__(self, backbone: Callable[[], Backbone], task: Many) -> None:
        super().__init__()
        self.backbone = build(backbone)
        width = self.backbone.widths[-1]
        inner = [nn.Linear(width, task.hidden), nn.ReLU()] if task.hidden else []
        self.head = nn.Sequential(*inner, nn.Linear(task.hidden or width, task.each))

    def forward(self, inputs: Any) -> Tensor:
        return self.head(pool(self.backbone(inputs)[-1]))
