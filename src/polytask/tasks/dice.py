"""The Dice loss of images."""

import torch
from torch import Tensor


def dice_loss(both: Tensor, squares: Tensor, labelled: Tensor) -> Tensor:
    r"""1 - mean over the classes that are in an image of 2 sum p g / (sum p² + sum g²), for every image.

    Args:
        both: sum p g, the probability of a class summed over the pixels that are of it, [b, classes].
        squares: sum p², over all pixels, [b, classes].
        labelled: sum g² = sum g, how many pixels are of the class, [b, classes].

    Returns:
        [b], 0 to 1; 0 for an image that no class is in.

    Source: Milletari, Navab, Ahmadi 2016, "V-Net", for one class.

    >>> import torch
    >>> dice_loss(torch.tensor([[4.0, 0.0]]), torch.tensor([[4.0, 1.0]]), torch.tensor([[4.0, 0.0]]))
    tensor([0.])
    """
    occurs = labelled > 0
    lost = 1 - 2 * both / (squares + labelled).clamp_min(1.0)
    return torch.where(occurs, lost, 0).sum(1) / occurs.sum(1).clamp_min(1)
