"""Low rank across tasks."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from polytask._text import did_you_mean
from polytask.errors import PolytaskError


def trace_norm(stacked: Float[Tensor, "t ..."], unfolding: str = "laf") -> Float[Tensor, ""]:
    r"""The sum of the singular values of the tasks' parameters as one matrix, or as several.

    The parameters of one layer, stacked to a tensor W of d axes with the tasks' axis last, are laid out as matrices,
    and the trace norms ||M||_* = sum_i sigma_i(M) of all of these are added, with equal weights:

    - "laf", last axis flattening: one matrix, with a column per task. Few singular values: the tasks' parameters lie
      in a space of few dimensions.
    - "tucker": d matrices, each with one axis of W as rows and all others as columns.
    - "tt", tensor train: d - 1 matrices, the first j axes of W as rows and the others as columns, j = 1 to d - 1.

    Args:
        stacked: x_1 to x_T along the first axis, of any shape. The other axes keep their order, which matters to "tt"
            alone; for a convolution of torch that is (out, in, h, w), then the tasks.
        unfolding: "laf", "tucker" or "tt".

    Returns:
        A scalar. Where singular values are 0 the gradient is one of many subgradients, sum_i u_i v_i'.

    Raises:
        PolytaskError: no such unfolding.

    Source: Yang, Hospedales 2017, Trace Norm Regularised Deep Multi-Task Learning (the three norms), with the layout
    and the subgradient of the authors' code.

    Cost: one singular value decomposition per matrix. "laf" has T columns and is cheap; "tucker" and "tt" have as many
    rows as a layer has outputs, or more: use them on small layers.

    >>> import torch
    >>> same, other = torch.tensor([[3.0, 4.0], [3.0, 4.0]]), torch.tensor([[3.0, 4.0], [4.0, -3.0]])
    >>> trace_norm(same), trace_norm(other)  # one direction of length 5 sqrt(2), or two of length 5
    (tensor(7.0711), tensor(10.))
    """
    if unfolding not in UNFOLDINGS:
        raise PolytaskError(f"there is no unfolding '{unfolding}'; {did_you_mean(unfolding, UNFOLDINGS)}")
    whole = stacked[:, None] if stacked.ndim == 1 else stacked
    if whole.dtype in (torch.bfloat16, torch.float16):  # of which torch takes no singular values
        whole = whole.float()
    norms = [torch.linalg.matrix_norm(each, "nuc") for each in UNFOLDINGS[unfolding](whole.movedim(0, -1))]
    return torch.stack(norms).sum()


def _last_axis(w: Tensor) -> Iterable[Tensor]:
    return [w.reshape(-1, w.shape[-1])]


def _tucker(w: Tensor) -> Iterable[Tensor]:
    return [w.movedim(axis, 0).flatten(1) for axis in range(w.ndim)]


def _tensor_train(w: Tensor) -> Iterable[Tensor]:
    return [w.reshape(w.shape[:j].numel(), -1) for j in range(1, w.ndim)]


UNFOLDINGS: Mapping[str, Callable[[Tensor], Iterable[Tensor]]] = MappingProxyType(
    {"laf": _last_axis, "tucker": _tucker, "tt": _tensor_train}
)
