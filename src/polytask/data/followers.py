"""What becomes of a target when its picture is seen through another window."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from polytask.data.views import View
from polytask.errors import PolytaskError


@dataclass(frozen=True)
class Follower(ABC):
    """How one kind of target follows its picture."""

    keeps: ClassVar[bool] = True
    """Whether a target without a missing label never gets one."""

    @abstractmethod
    def __call__(self, target: Tensor, view: View) -> Tensor:
        """The targets [b, ...] of a batch as its view has them; missing labels stay missing."""


@dataclass(frozen=True)
class LabelMap(Follower):
    """Classes, edges or other labels of pixels, [b, h, w]: each pixel gets the label of the nearest one.

    >>> import torch
    >>> right_half = View(torch.tensor([[0.0, 0.5]]), torch.tensor([[1.0, 0.5]]))
    >>> LabelMap()(torch.tensor([[[0, 0, 1, 2]]]), right_half).tolist()
    [[[1, 1, 2, 2]]]
    """

    def __call__(self, target: Tensor, view: View) -> Tensor:
        return view.nearest(target)


@dataclass(frozen=True)
class ValueMap(Follower):
    """Numbers of pixels, [b, h, w] or [b, c, h, w], such as colours: bilinear; missing ones (NaN) do not spread.

    >>> import torch
    >>> left_half = View(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.5]]))
    >>> ValueMap()(torch.tensor([[[0.0, 4.0]]]), left_half).tolist()
    [[[0.0, 1.0]]]
    """

    def __call__(self, target: Tensor, view: View) -> Tensor:
        return view.bilinear(target)


@dataclass(frozen=True)
class DepthMap(Follower):
    r"""Metres to what each pixel shows, [b, h, w]: bilinear, and divided by the zoom.

    What looks s times larger to the same camera is s times nearer, z' = z / s. Missing depth (NaN) does not spread
    (`View.bilinear`); at the border of an object the two pixels there get values in between.

    Source: Eigen, Puhrsch, Fergus 2014, Depth Map Prediction from a Single Image using a Multi-Scale Deep Network,
    section 3.3. LibMTL's loader (examples/nyu/create_dataset.py) divides as well and takes the nearest pixel.

    >>> import torch
    >>> window = View(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
    >>> DepthMap()(torch.full((1, 2, 2), 3.0), window).tolist()
    [[[1.5, 1.5], [1.5, 1.5]]]
    """

    def __call__(self, target: Tensor, view: View) -> Tensor:
        return view.bilinear(target) / view.zoom.to(target.device, torch.float32).reshape(-1, *[1] * (target.ndim - 1))


@dataclass(frozen=True)
class NormalMap(Follower):
    """Surface normals in the camera's axes, the first of which points right, [b, 3, h, w]: those of the nearest pixels;
    mirrored, the first number changes its sign.

    The nearest, because a mean of two normals is neither of unit length nor the normal of anything. Zoom leaves them
    as they are, as in LibMTL's loader (which takes bilinear means, and does not make them unit vectors again).

    >>> import torch
    >>> mirrored = View(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, -1.0]]))
    >>> NormalMap()(torch.tensor([0.6, 0.0, -0.8]).reshape(1, 3, 1, 1), mirrored).flatten().tolist()
    [-0.6, 0.0, -0.8]
    """

    def __call__(self, target: Tensor, view: View) -> Tensor:
        if target.ndim != 4 or target.shape[1] != 3:
            raise PolytaskError(f"normals must have the shape [b, 3, h, w], got {list(target.shape)}")
        shown, mirrored = view.nearest(target), view.mirrored.to(target.device)
        shown[mirrored, 0] = -shown[mirrored, 0]
        return shown


@dataclass(frozen=True)
class Points(Follower):
    """Places in the picture, [b, points, 2], x and y as fractions from the left and the top (`tasks.Landmarks`).

    A point that leaves the window becomes missing (NaN twice); one that lay outside the picture before stays.

    Args:
        pairs: numbers of points that change places when left and right are swapped, say of the left and the right eye.

    >>> import torch
    >>> mirrored = View(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, -1.0]]))
    >>> Points(((0, 1),))(torch.tensor([[[0.25, 0.5], [1.0, 0.25], [0.5, 0.0]]]), mirrored).tolist()
    [[[0.0, 0.25], [0.75, 0.5], [0.5, 0.0]]]
    """

    keeps: ClassVar[bool] = False
    pairs: tuple[tuple[int, int], ...] = ()

    def __call__(self, target: Tensor, view: View) -> Tensor:
        if target.ndim != 3 or target.shape[2] != 2 or any(max(pair) >= target.shape[1] for pair in self.pairs):
            raise PolytaskError(
                f"points must have the shape [b, points, 2], and pairs be numbers below points; got "
                f"{list(target.shape)} and pairs {self.pairs}"
            )
        origin, extent = (each.flip(1)[:, None].to(target) for each in (view.origin, view.extent))
        found = (target - origin) / extent
        left = _outside(found) & ~_outside(target)
        found = found.masked_fill(left[:, :, None], torch.nan)
        swapped = torch.arange(target.shape[1])
        for one, other in self.pairs:
            swapped[[one, other]] = torch.tensor([other, one])
        mirrored = view.mirrored.to(target.device)[:, None, None]
        return torch.where(mirrored, found[:, swapped.to(target.device)], found)


@dataclass(frozen=True)
class SidedClasses(Follower):
    """Classes of which some say left and some right, [b]: mirrored, they change places.

    Args:
        pairs: numbers of classes that change places, say of "to the left" and "to the right".

    >>> import torch
    >>> mirrored = View(torch.tensor([[0.0, 1.0]] * 3), torch.tensor([[1.0, -1.0]] * 3))
    >>> SidedClasses(((0, 2),))(torch.tensor([0, 1, -100]), mirrored).tolist()
    [2, 1, -100]
    """

    pairs: tuple[tuple[int, int], ...]

    def __call__(self, target: Tensor, view: View) -> Tensor:
        if target.ndim != 1 or target.is_floating_point():
            raise PolytaskError(
                f"classes must be whole numbers of shape [b], got {list(target.shape)} of {target.dtype}"
            )
        swapped = target.clone()
        for one, other in self.pairs:
            swapped = torch.where(target == one, other, torch.where(target == other, one, swapped))
        return torch.where(view.mirrored.to(target.device), swapped, target)


def _outside(points: Tensor) -> Tensor:
    return ((points < 0) | (points > 1)).any(2)
