"""From the feature of a stage to the numbers that a head reads."""

from jaxtyping import Float
from torch import Tensor

from polytask.errors import PolytaskError


def pool(feature: Float[Tensor, "b ..."]) -> Float[Tensor, "b c"]:
    """The mean over all positions: one vector per sample, [b, c].

    z[b, c] = mean over (h, w) of a map [b, c, h, w], mean over n of tokens [b, n, c]; vectors [b, c] stay as
    they are. Models pool once where several heads read the same feature: a head (`Task.head`) sees [b, c].

    Raises:
        PolytaskError: the feature has neither 2, 3 nor 4 axes.

    >>> import torch
    >>> pool(torch.tensor([[[[1.0, 3.0]], [[10.0, 30.0]]]]))  # one sample, two channels, 1 x 2 positions
    tensor([[ 2., 20.]])
    >>> pool(torch.tensor([[[1.0, 10.0], [3.0, 30.0]]]))  # one sample, two tokens, two channels
    tensor([[ 2., 20.]])
    """
    if feature.ndim == 4:
        return feature.mean((2, 3))
    if feature.ndim == 3:
        return feature.mean(1)
    if feature.ndim == 2:
        return feature
    raise PolytaskError(
        "expected a stage feature of shape [b, c], [b, n, c] or [b, c, h, w], "
        f"got {list(feature.shape)}; reshape it in the backbone"
    )
