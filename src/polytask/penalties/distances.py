"""How far the parameters, or the activations, of several tasks are from each other."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from jaxtyping import Float
from torch import Tensor

from polytask.penalties.trace import trace_norm


def squared_l2(stacked: Float[Tensor, "t ..."]) -> Float[Tensor, ""]:
    r"""The squared Euclidean distance, summed over all pairs of tasks.

    sum_{t < u} ||x_t - x_u||^2 = T sum_t ||x_t - mean_u x_u||^2, the right side being what is computed.

    Args:
        stacked: x_1 to x_T along the first axis, of any shape.

    Returns:
        A scalar; 0 for one task. Its gradient for x_t is 2 T (x_t - mean x).

    Source: Duong et al. 2015, Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a Neural Network
    Parser: squared L2 between the parameters of two networks.

    Cost: three passes over the T tensors, whatever the number of pairs.

    >>> import torch
    >>> squared_l2(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor(25.)
    """
    return len(stacked) * (stacked - stacked.mean(0)).square().sum()


def l1(stacked: Float[Tensor, "t ..."]) -> Float[Tensor, ""]:
    """The sum of absolute differences, over all pairs of tasks: sum_{t < u} |x_t - x_u|_1.

    Single numbers become exactly equal, where squared distances only draw them near. Where two are equal already,
    the subgradient taken is 0.

    Args:
        stacked: x_1 to x_T along the first axis, of any shape.

    Returns:
        A scalar; 0 for one task.

    Cost: two passes over a pair of tensors for each of the T (T - 1) / 2 pairs.

    >>> import torch
    >>> l1(torch.tensor([[0.0], [1.0], [4.0]]))  # 1 + 4 + 3
    tensor(8.)
    """
    total = stacked.new_zeros(())
    for t in range(len(stacked) - 1):
        total = total + (stacked[t] - stacked[t + 1 :]).abs().sum()
    return total


DISTANCES: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "squared_l2": squared_l2,
        "l1": l1,
        "trace_norm": trace_norm,
        "trace_norm_tucker": partial(trace_norm, unfolding="tucker"),
        "trace_norm_tt": partial(trace_norm, unfolding="tt"),
    }
)
"""The ways to tie tasks, by the name a setting calls them by: from x_1 to x_T, stacked, to a scalar."""
