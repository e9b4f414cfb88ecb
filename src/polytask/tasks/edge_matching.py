"""How well edges are found: thinned probabilities, one-to-one matching within a tolerance, and the ODS F-measure."""

from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from polytask.tasks.map_metrics import Pooled

_BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
_SLOPE = torch.tensor([-1.0, 0.0, 1.0]) / 2
_BEND = torch.tensor([1.0, -2.0, 1.0])
_SLACK = 1.01


def thinned(chance: Tensor) -> Tensor:
    """Probabilities with all but the ridges set to 0: non-maximum suppression across the line, [b, h, w] -> the same.

    The line through a pixel is taken to run across the direction in which the map, smoothed by a binomial kernel of 5,
    bends most: the eigenvector of its second derivatives whose eigenvalue is the largest in size (Steger 1998). A
    pixel stays unless the map, interpolated one pixel further on either side in that direction, is more than 1 %
    higher. So level ground stays as it is.

    >>> import torch
    >>> chance = torch.tensor([0.1, 0.5, 0.9, 0.5, 0.1]).expand(1, 5, 5)
    >>> thinned(chance)[0, 2]
    tensor([0.0000, 0.0000, 0.9000, 0.0000, 0.0000])
    """
    smooth = _along(_along(chance, _BINOMIAL, 1), _BINOMIAL, 2)
    down, across = _along(smooth, _BEND, 1), _along(smooth, _BEND, 2)
    both = _along(_along(smooth, _SLOPE, 1), _SLOPE, 2)
    turn = torch.atan2(2 * both, across - down) / 2  # towards the larger eigenvalue; the other is at a right angle
    convex = across + down > 0
    step_x, step_y = torch.where(convex, turn.cos(), -turn.sin()), torch.where(convex, turn.sin(), turn.cos())
    beside = torch.maximum(_moved(chance, step_x, step_y), _moved(chance, -step_x, -step_y))
    return torch.where(chance * _SLACK >= beside, chance, 0)


def _along(maps: Tensor, kernel: Tensor, axis: int) -> Tensor:
    """Maps [b, h, w] filtered along an axis; the border is repeated."""
    reach = len(kernel) // 2
    shape = (1, 1, len(kernel), 1) if axis == 1 else (1, 1, 1, len(kernel))
    pad = (0, 0, reach, reach) if axis == 1 else (reach, reach, 0, 0)
    padded = F.pad(maps[:, None], pad, mode="replicate")
    return F.conv2d(padded, kernel.to(maps).view(shape))[:, 0]


def _moved(maps: Tensor, step_x: Tensor, step_y: Tensor) -> Tensor:
    """Maps [b, h, w] read at every pixel plus a step, bilinear; outside the border is repeated."""
    height, width = maps.shape[1:]
    row, column = torch.arange(height).to(maps)[:, None], torch.arange(width).to(maps)
    x, y = (column + step_x) * 2 / max(width - 1, 1) - 1, (row + step_y) * 2 / max(height - 1, 1) - 1
    grid = torch.stack([x, y], -1)
    return F.grid_sample(maps[:, None], grid, mode="bilinear", padding_mode="border", align_corners=True)[:, 0]


def matched(level: Tensor, edges: Tensor, radius: float, levels: int) -> Tensor:
    """How many pairs the largest matching has, of pixels of at least a level and edge pixels, for levels 1 to `levels`.

    A pair is at most `radius` pixels apart, and no pixel is in two pairs. The pixels are taken level by level from the
    highest, and each one may re-arrange the pairs before it (Kuhn 1955; augmenting paths): the matching is the largest
    possible at every level.

    Args:
        level: integers [h, w]; 0 for pixels that are not taken at any level.
        edges: true at edge pixels, [h, w].
        radius: in pixels.
        levels: the highest level.

    Returns:
        Integers [levels + 1]; the entry of level 0 is that of level 1.

    Cost: with a radius below 1 one `bincount`. Else a loop in Python, about as many turns as there are pairs of pixels
    within the radius.

    >>> import torch
    >>> level, edges = torch.tensor([[2, 1, 0, 1]]), torch.tensor([[True, False, True, False]])
    >>> matched(level, edges, 1.0, 2)  # (0, 0), and one of the others with (0, 2)
    tensor([2, 2, 1])
    """
    if radius < 1:
        gained = level[edges & (level > 0)]
    else:
        rank, near, count = _candidates(level, edges, radius)
        gained = rank[torch.tensor(_raises(near, count), dtype=torch.bool)]
    return torch.bincount(gained, minlength=levels + 1).flip(0).cumsum(0).flip(0)


def _candidates(level: Tensor, edges: Tensor, radius: float) -> tuple[Tensor, list[list[int]], int]:
    """The levels of the pixels that have an edge pixel within the radius, highest first; the numbers of those edge
    pixels, nearest first; and how many edge pixels there are."""
    reach = int(radius)
    offsets = sorted(
        (dy * dy + dx * dx, dy, dx)
        for dy, dx in product(range(-reach, reach + 1), repeat=2)
        if dy * dy + dx * dx <= radius * radius
    )
    number = torch.full_like(level, -1).masked_scatter(edges, torch.arange(int(edges.sum())))
    padded = F.pad(number, (reach, reach, reach, reach), value=-1)
    row, column = level.nonzero(as_tuple=True)
    around = torch.stack([padded[row + reach + dy, column + reach + dx] for _, dy, dx in offsets], 1)
    rank = level[row, column]
    order = rank.argsort(descending=True, stable=True)
    order = order[(around[order] >= 0).any(1)]
    near = [[each for each in line if each >= 0] for line in around[order].tolist()]
    return rank[order], near, int(edges.sum())


def _raises(near: list[list[int]], edges: int) -> list[bool]:
    """Which of the pixels, offered one after another with the edge pixels near them, raise the largest matching."""
    owner, held, lost = [-1] * edges, [-1] * len(near), [False] * edges
    found = []
    for pixel in range(len(near)):
        came: dict[int, int] = {}  # the pixel from which an edge pixel was reached
        free = _search(pixel, near, owner, lost, came)
        found.append(free >= 0)
        if free < 0:  # what was reached leads to no free edge pixel now, nor ever after
            for edge in came:
                lost[edge] = True
        while free >= 0:
            taker = came[free]
            owner[free], held[taker], free = taker, free, held[taker]
    return found


def _search(start: int, near: list[list[int]], owner: list[int], lost: list[bool], came: dict[int, int]) -> int:
    """An edge pixel without a partner that can be reached, breadth first; -1 if there is none."""
    queue = [start]
    for pixel in queue:
        for edge in near[pixel]:
            if lost[edge] or edge in came:
                continue
            came[edge] = pixel
            if owner[edge] < 0:
                return edge
            queue.append(owner[edge])
    return -1


class OptimalF(Pooled):
    r"""The F-measure of edges at the one threshold that suits the whole split best (ODS F). Higher is better.

    At each of K thresholds t_k = k / (K + 1): a pixel is taken for an edge where its probability, `thinned`, is at
    least t_k; found edges and true ones are matched one to one, pairs at most `tolerance` times the image's diagonal
    apart, as many as possible; precision P = pairs / found edges and recall R = pairs / true edges, pairs and edges
    added up over the split. The score is the largest 2 P R / (P + R), also on the straight lines between (P, R) of
    neighbouring thresholds (100 points each, as the benchmark's code does).

    Args:
        tolerance: share of the diagonal. 0.0075 is that of BSDS, 0.011 that of NYU depth. Below one pixel (at the
            default: images with a diagonal under 134 pixels) only the same pixel is a match: take more for those.
        thresholds: K; 99 in BSDS.
        thin: keep only the ridges of the probabilities, as is done there; for true edges that are one pixel wide.
        unit: as in `Pooled`.

    What differs from the BSDS benchmark (Martin, Fowlkes, Malik 2004; code of Dollár and Zitnick 2015): there a
    matching of least total distance is found approximately, here the number of pairs is that of the largest matching;
    there the thresholded map is thinned once more by a morphological operation, at every threshold; here edges have
    one annotation, there several. Without edges the score is 0.

    Cost: with a tolerance below one pixel, some passes over the map (2 ms for an image of 64 x 64). Else a matching in
    Python for each image, all thresholds at once: 4 ms for 64 x 64, 0.6 s for 288 x 384 with the default tolerance and
    a tenth of the pixels edges.
    """

    higher_is_better = True
    pairs: Tensor
    found: Tensor
    edges: Tensor

    def __init__(
        self, tolerance: float = 0.0075, thresholds: int = 99, thin: bool = True, unit: str = "", **kwargs: Any
    ) -> None:
        super().__init__(unit, **kwargs)
        self.tolerance, self.thresholds, self.thin = tolerance, thresholds, thin
        empty = torch.zeros(thresholds, dtype=torch.int64)
        self.add_state("pairs", empty, dist_reduce_fx="sum")
        self.add_state("found", empty.clone(), dist_reduce_fx="sum")
        self.add_state("edges", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, chance: Tensor, edges: Tensor, there: Tensor) -> None:
        """Show probabilities [b, h, w], where there are edges, and where there are labels (true or false)."""
        chance = torch.where(there, thinned(chance) if self.thin else chance, -1.0)
        steps = torch.arange(1, self.thresholds + 1).to(chance) / (self.thresholds + 1)
        level = torch.bucketize(chance, steps, right=True)
        edges = edges & there
        radius = self.tolerance * (chance.shape[1] ** 2 + chance.shape[2] ** 2) ** 0.5
        found = torch.bincount(level.flatten(), minlength=self.thresholds + 1).flip(0).cumsum(0).flip(0)
        if radius < 1:
            pairs = matched(level.flatten(1), edges.flatten(1), radius, self.thresholds)
        else:
            together = zip(level.cpu(), edges.cpu(), strict=True)
            pairs = torch.stack([matched(*each, radius, self.thresholds) for each in together]).sum(0)
        self.found += found[1:]
        self.pairs += pairs[1:].to(self.pairs.device)
        self.edges += edges.sum()

    def compute(self) -> Tensor:
        """The largest F, 0 to 1."""
        pairs = self.pairs.double()
        precision, recall = pairs / self.found.clamp_min(1), pairs / self.edges.clamp_min(1)
        share = torch.linspace(0, 1, 100, dtype=torch.float64, device=precision.device)[:, None]
        p = torch.lerp(precision[:-1], precision[1:], share)
        r = torch.lerp(recall[:-1], recall[1:], share)
        return (2 * p * r / (p + r).clamp_min(1e-12)).max()
