"""How far fine-tuned weights are from where they started."""

from collections.abc import Iterable

import torch
from torch import Tensor


def l2_sp(
    loaded: Iterable[tuple[Tensor, Tensor]], fresh: Iterable[Tensor] = (), alpha: float = 0.1, beta: float = 0.01
) -> Tensor:
    r"""L2-SP: draws weights to the point where fine-tuning started, and those that are new to 0.

        alpha / 2 sum over loaded w of ||w - w^0||^2 + beta / 2 sum over fresh w of ||w||^2

    Args:
        loaded: pairs (w, w^0), of one shape each: a weight, and what it was loaded with.
        fresh: weights that were drawn at random, of any shapes.
        alpha: strength of the first sum. The default is that of the authors' script for Stanford Dogs.
        beta: strength of the second one; default as for alpha.

    Returns:
        A scalar. Its gradient is alpha (w - w^0) for loaded weights and beta w for fresh ones.

    Source: Li, Grandvalet, Davoine 2018, Explicit Inductive Bias for Transfer Learning with Convolutional Networks.
    What was read is the abstract and the authors' code (holyseven/TransferLearningClassification:
    `model/network_base.py`, mode 1, with TensorFlow's l2_loss, which halves; `run_classification/train.sh`), not the
    paper's text: no equation is numbered here, and what the paper says about choosing alpha and beta is not repeated.

    Cost: one pass over the weights.

    >>> import torch
    >>> w, start, new = torch.tensor([3.0, 4.0]), torch.zeros(2), torch.tensor([1.0])
    >>> l2_sp([(w, start)], [new], alpha=0.1, beta=0.01)  # 0.05 * 25 + 0.005 * 1
    tensor(1.2550)
    """
    near = [(weight - start).square().sum() for weight, start in loaded]
    small = [weight.square().sum() for weight in fresh]
    total = torch.zeros(()) if not (near or small) else (near or small)[0].new_zeros(())
    if near:
        total = total + alpha / 2 * torch.stack(near).sum()
    if small:
        total = total + beta / 2 * torch.stack(small).sum()
    return total
