"""Colours of pictures: of classes, of a range of numbers, and of what is missing."""

import torch
from torch import Tensor

MISSING_COLOUR = (128, 128, 128)
"""Red, green, blue of a pixel without a label."""

# Okabe and Ito 2008, Color Universal Design, without black: told apart with every common kind of colour blindness.
_APART = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))

_SHARES = (0.0, 0.45, -0.55, 0.25, 0.65, -0.25)

# From dark violet to light yellow, CIE lightness 16 to 92 in even steps; the hue turns from 300 to 100 degrees (OKLCH).
_EVEN = (
    (56, 17, 97), (46, 51, 130), (11, 84, 144), (18, 114, 143), (25, 143, 148),
    (32, 173, 145), (109, 198, 130), (183, 217, 120), (252, 234, 126),
)  # fmt: skip


def class_colours(classes: int) -> Tensor:
    """Colours of any number of classes, uint8 [classes, 3]; that of a class does not depend on how many there are.

    The first seven are Okabe and Ito's. Further rounds of seven are the same mixed with white or black, so that they
    differ in lightness, which every eye sees: up to 42 with shares found by search (no two colours closer than 4 in
    CIELAB, with or without red or green cones), after that with those of van der Corput's sequence. None is grey.

    >>> class_colours(9)[[0, 7]].tolist()
    [[230, 159, 0], [241, 202, 115]]
    """
    base, number = torch.tensor(_APART, dtype=torch.float64), torch.arange(classes)
    shares = torch.tensor([_share(k) for k in range(-(-classes // len(base)))], dtype=torch.float64)
    share, colour = shares[number // len(base), None], base[number % len(base)]
    return torch.where(share > 0, colour + (255 - colour) * share, colour * (1 + share)).round().to(torch.uint8)


def _share(turn: int) -> float:
    """What is mixed into a round of colours: white when above 0, black when below."""
    if turn < len(_SHARES):
        return _SHARES[turn]
    return 1.4 * int(f"{turn:b}"[::-1], 2) / 2 ** turn.bit_length() - 0.7


def range_colours(share: Tensor) -> Tensor:
    """Numbers 0 to 1 of any shape [...] as colours uint8 [..., 3], dark violet to light yellow.

    Lightness rises evenly, so that equal steps look equal, also in grey and to the colour-blind. What is outside 0 to
    1 gets the colour of the end.

    >>> import torch
    >>> range_colours(torch.tensor([0.0, 0.5, 2.0])).tolist()
    [[56, 17, 97], [25, 143, 148], [252, 234, 126]]
    """
    table = torch.tensor(_EVEN, dtype=torch.float32, device=share.device)
    place = share.float().nan_to_num(0.0).clamp(0, 1) * (len(table) - 1)
    low = place.long().clamp_max(len(table) - 2)
    mixed = torch.lerp(table[low], table[low + 1], (place - low)[..., None])
    return mixed.round().to(torch.uint8)


def bytes_of(values: Tensor) -> Tensor:
    """Numbers 0 to 1 as 0 to 255, uint8; what is outside is clamped."""
    return (values.float().nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8)


def colour_images(images: Tensor) -> Tensor:
    """Images [b, 3 or 1, h, w], floats 0 to 1, as pictures uint8 [b, h, w, 3]."""
    return bytes_of(images).permute(0, 2, 3, 1).expand(-1, -1, -1, 3)
