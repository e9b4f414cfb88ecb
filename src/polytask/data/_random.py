"""Random numbers that hang on what they are for, not on what was drawn before them."""

import torch
from torch import Tensor

_STEP = -0x61C8864680B583EB  # 2^64 / golden ratio, odd, as a signed number
_FIRST, _SECOND = -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


def uniform(draw: int, samples: Tensor, numbers: int) -> Tensor:
    """Numbers in [0, 1) that depend on (draw, sample, position) alone: [b, numbers], float64.

    u = floor(h / 2^11) / 2^53 with h = mix(mix(mix(draw) + (sample + 1) g) + (position + 1) g), where mix is the
    output function of SplitMix64 and g its increment, all modulo 2^64. A stream at any place costs the same, so that a
    training that goes on in the middle, and every process, finds the numbers of every sample.

    Args:
        draw: which draw this is, as `draw_number` makes it.
        samples: [b] sample numbers; one that is there twice gets the same numbers twice.
        numbers: how many for each sample.

    Source: Steele, Lea, Flood 2014, Fast Splittable Pseudorandom Number Generators (the increment and, in its variant
    of David Stafford, the mixing constants).

    >>> import torch
    >>> torch.equal(uniform(3, torch.tensor([5, 7]), 2)[1:], uniform(3, torch.tensor([7]), 2))
    True
    """
    wrapped = (draw + 2**63) % 2**64 - 2**63
    state = _mix(torch.tensor(wrapped, device=samples.device))
    state = _mix(state + (samples.long() + 1) * _STEP)
    positions = torch.arange(1, numbers + 1, device=samples.device)
    state = _mix(state[:, None] + positions * _STEP)
    return _shifted(state, 11).double() * 2.0**-53


def draw_number(seed: int, step: int) -> int:
    """The draw of one training step: seed 2^32 + step."""
    return seed * 2**32 + step


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    """Shifted right as an unsigned number of 64 bits."""
    return (x >> by) & (2 ** (64 - by) - 1)
