"""Augmentation of a training batch: inputs and targets seen through the same random windows."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from polytask.data.batch import Inputs
from polytask.data.followers import Follower
from polytask.data.views import View
from polytask.errors import PolytaskError


@dataclass(frozen=True)
class Move(ABC):
    """Draws a window for each sample of a batch."""

    numbers: ClassVar[int]
    """How many random numbers a sample needs."""

    @abstractmethod
    def __call__(self, random: Tensor) -> View:
        """The windows, from random numbers [b, numbers] in [0, 1)."""


@dataclass(frozen=True)
class RandomScaleCrop(Move):
    r"""A window of 1/s of the width and of the height, s drawn from `scales`, anywhere in the picture.

    The window is seen in the size of the picture, so that things look s times larger. Its place is not bound to whole
    pixels, and pixels are sampled at their middles, labels as pictures. (The published loader cuts at whole pixels, and
    resizes pictures with aligned corners but labels without.)

    Args:
        scales: 1.0, 1.2 and 1.5 in the usual protocol of NYUv2.

    Source: the loader of LibMTL, examples/nyu/create_dataset.py (scales, one draw of three per sample). Its note says
    that Liu, Johns, Davison 2019 (MTAN) and their baselines were trained without augmentation.

    >>> import torch
    >>> RandomScaleCrop((2.0,))(torch.tensor([[0.3, 1.0, 0.5]]))
    View(origin=tensor([[0.5000, 0.2500]], dtype=torch.float64), extent=tensor([[0.5000, 0.5000]], dtype=torch.float64))
    """

    scales: tuple[float, ...] = (1.0, 1.2, 1.5)
    numbers: ClassVar[int] = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(map(float, self.scales)))
        if not self.scales or not all(1 <= scale < float("inf") for scale in self.scales):
            raise PolytaskError(f"RandomScaleCrop needs scales of 1 or more, as in (1.0, 1.2, 1.5), got {self.scales}")

    def __call__(self, random: Tensor) -> View:
        drawn = torch.tensor(self.scales, dtype=torch.float64)[(random[:, 0] * len(self.scales)).long()]
        extent = (1 / drawn)[:, None].expand(-1, 2)
        return View(random[:, 1:] * (1 - extent), extent)


@dataclass(frozen=True)
class RandomFlip(Move):
    """Left and right swapped.

    Args:
        share: of the samples; 0.5, as in LibMTL's loader.
    """

    share: float = 0.5
    numbers: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise PolytaskError(f"the share of samples that RandomFlip mirrors must be 0 to 1, got {self.share}")

    def __call__(self, random: Tensor) -> View:
        view = View.whole(len(random))
        mirrored = random[:, 0] < self.share
        view.origin[mirrored, 1], view.extent[mirrored, 1] = 1.0, -1.0
        return view


@dataclass(frozen=True)
class Augmentation:
    """Every image of a sample, and its targets, seen through one random window.

    Images, the floating-point inputs [b, c, h, w], are sampled bilinearly; other inputs stay as they are. What becomes
    of a target is said in `targets`; one number or row of numbers per sample, such as a class, stays as it is. However
    many moves there are, everything is sampled once.

    Args:
        moves: drawn anew for every sample and step; each sees what the one before it left.
        targets: how the targets that belong to places in the picture follow it, by task.

    Raises:
        PolytaskError: there is no move; when used: no input is an image, or a target is a map and it isn't said how it
            follows.

    Cost: `View.bilinear` of every image and `View.nearest` or `bilinear` of every map.

    >>> import torch
    >>> from polytask.data import LabelMap, TensorData
    >>> pictures, labels = torch.rand(4, 3, 2, 2), torch.arange(16).reshape(4, 2, 2)
    >>> mirror = Augmentation((RandomFlip(share=1),), {"parts": LabelMap()})
    >>> data = TensorData(pictures, {"parts": labels, "kind": torch.arange(4)}, augment=mirror)
    >>> first = torch.tensor([0])
    >>> batch = data.piece(first, first, draw=7)
    >>> batch.targets["parts"].tolist(), batch.targets["kind"].tolist()
    ([[[1, 0], [3, 2]]], [0])
    """

    moves: tuple[Move, ...]
    targets: Mapping[str, Follower] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "moves", tuple(self.moves))
        if not self.moves:
            raise PolytaskError("an augmentation needs at least one move, such as RandomFlip(); else give none")

    @property
    def numbers(self) -> int:
        return sum(move.numbers for move in self.moves)

    def keeps(self, target: str) -> bool:
        return target not in self.targets or self.targets[target].keeps

    def __call__(self, inputs: Inputs, targets: dict[str, Tensor], random: Tensor) -> tuple[Inputs, dict[str, Tensor]]:
        view = View.whole(len(random))
        parts = random.split([move.numbers for move in self.moves], 1)
        for move, part in zip(self.moves, parts, strict=True):
            view = view.within(move(part))
        return _images(inputs, view), {name: self._followed(name, target, view) for name, target in targets.items()}

    def _followed(self, name: str, target: Tensor, view: View) -> Tensor:
        if name in self.targets:
            return self.targets[name](target, view)
        if target.ndim > 2:
            raise PolytaskError(
                f"the targets of '{name}' are maps or points (of shape {list(target.shape[1:])}), and the augmentation "
                f"was not told how they follow the picture: give it targets={{'{name}': LabelMap()}}, or ValueMap, "
                "DepthMap, NormalMap, Points"
            )
        return target


def _images(inputs: Inputs, view: View) -> Inputs:
    columns = inputs if isinstance(inputs, dict) else {"": inputs}
    shown = {name: view.bilinear(x) if x.ndim == 4 and x.is_floating_point() else x for name, x in columns.items()}
    if columns and all(shown[name] is x for name, x in columns.items()):
        came = {name: f"{list(x.shape[1:])} {x.dtype}" for name, x in columns.items()}
        raise PolytaskError(
            f"the augmentation found no image among the inputs, whose rows are {came}; images are floating-point "
            "[c, h, w] (bytes become that by a `transform`)"
        )
    return shown if isinstance(inputs, dict) else shown[""]
