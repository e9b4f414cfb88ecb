"""What a task does to the features of a shared network: channels opened and closed, and a linear map beside."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polytask.errors import PolytaskError
from polytask.sharing.backbone import Backbone
from polytask.sharing.heads import pool
from polytask.sharing.trunks._attention import check_reduction


class SqueezeExcite(nn.Module):
    """s(x) = sigmoid(W2 relu(W1 pool(x) + b1) + b2): a gate for every channel, from the mean over the positions.

    Args:
        width: channels c.
        reduction: W1 leads to c / reduction numbers, at least 1.

    Source: Hu, Shen, Sun 2018, Squeeze-and-Excitation Networks.
    """

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        check_reduction(reduction)
        hidden = max(width // reduction, 1)
        self.squeeze = nn.Linear(width, hidden)
        self.excite = nn.Linear(hidden, width)
        self.mean: Tensor | None = None
        """Of the gates, over the last training batch."""

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(pool(x)))))
        if self.training:
            self.mean = gate.detach().mean()
        return x * (gate[:, :, None, None] if x.ndim == 4 else gate[:, None] if x.ndim == 3 else gate)


class Pointwise(nn.Module):
    """W x at every position, zero at the start: of maps [b, c, h, w], tokens [b, n, c] and vectors [b, c]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight[:, :, None, None]) if x.ndim == 4 else F.linear(x, self.weight)


class Modulation(nn.Module):
    """y s(y) + W x, of what goes into a layer (x) and what comes out of it (y).

    Args:
        inputs, outputs: channels of x and y.
        reduction: of the squeeze; None leaves s out.
        adapter: whether there is W. Where y is a smaller map than x, x is averaged to its size.
        channels_last: whether the last axis of x and y with four axes holds the channels, as of a linear layer.
    """

    def __init__(
        self, inputs: int, outputs: int, reduction: int | None, adapter: bool, channels_last: bool = False
    ) -> None:
        super().__init__()
        self.channels_last = channels_last
        self.gate = None if reduction is None else SqueezeExcite(outputs, reduction)
        self.adapter = Pointwise(inputs, outputs) if adapter else None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.channels_last and y.ndim == 4:
            return self._modulated(x.movedim(-1, 1), y.movedim(-1, 1)).movedim(1, -1)
        return self._modulated(x, y)

    def _modulated(self, x: Tensor, y: Tensor) -> Tensor:
        gated = y if self.gate is None else self.gate(y)
        if self.adapter is None:
            return gated
        if x.ndim == 4 and x.shape[-2:] != y.shape[-2:]:
            x = F.adaptive_avg_pool2d(x, (y.shape[-2], y.shape[-1]))
        return gated + self.adapter(x)


def residual_branches(backbone: Backbone) -> dict[str, nn.Module]:
    """The branches g of residual blocks f(x) = relu(x + g(x)), by name; blocks are told by having a `shortcut`."""
    return {
        f"{name}.{branch}": getattr(module, branch)
        for name, module in backbone.named_modules()
        for branch in ("residual", "layer")
        if hasattr(module, "shortcut") and isinstance(getattr(module, branch, None), nn.Module)
    }


def named(backbone: Backbone, chosen: Callable[[Backbone], Iterable[nn.Module]]) -> dict[str, nn.Module]:
    """The modules of a backbone that a user's function chooses, by name."""
    names = {module: name for name, module in backbone.named_modules()}
    modules = list(chosen(backbone))
    if not modules or any(module not in names for module in modules):
        raise PolytaskError("blocks must give modules of the backbone that it is called with, at least one")
    return {names[module]: module for module in modules}


def ends(module: nn.Module) -> tuple[int, int]:
    """The channels that come into and go out of a module, by its first and its last layer."""
    layers = [each for each in module.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    if not layers:
        raise PolytaskError(f"a block must hold a convolution or linear layer, and {type(module).__name__} has none")
    first, last = layers[0], layers[-1]
    return (
        first.in_channels if isinstance(first, nn.Conv2d) else first.in_features,
        last.out_channels if isinstance(last, nn.Conv2d) else last.out_features,
    )
