"""TCDCN: its layers are the published ones, light and contrast do not matter to it."""

import math

import pytest
import torch
from torch import nn

from polytask import sharing
from polytask.errors import PolytaskError


def test_its_layers_and_weights() -> None:
    backbone = sharing.TCDCN()()
    features = backbone(torch.randn(2, 1, 40, 40))
    sides = [(16, 18), (48, 8), (64, 3), (64, 2), (100, 1)]
    assert [tuple(each.shape[1:]) for each in features] == [(width, side, side) for width, side in sides]
    assert all(bool(((each >= 0) & (each <= 1)).all()) for each in features)
    kernels = (16 * 25, 48 * 16 * 9, 64 * 48 * 9, 64 * 64 * 4, 100 * 64 * 4)
    assert sum(each.numel() for each in backbone.parameters()) == sum(kernels) + 16 + 48 + 64 + 64 + 100
    large = sharing.TCDCN(3, size=48, features=7)()(torch.randn(1, 3, 48, 48))
    assert [each.shape[-1] for each in large] == [22, 10, 4, 3, 1] and large[-1].shape[1] == 7


def test_the_activation_is_the_absolute_value_of_tanh() -> None:
    backbone = sharing.TCDCN()()
    for each in backbone.modules():
        if isinstance(each, nn.Conv2d):
            nn.init.zeros_(each.weight)
            assert each.bias is not None
            nn.init.constant_(each.bias, -0.5)
    for feature in backbone(torch.randn(1, 1, 40, 40)):
        torch.testing.assert_close(feature, torch.full_like(feature, math.tanh(0.5)))


def test_brightness_and_contrast_do_not_matter() -> None:
    backbone, images = sharing.TCDCN()(), torch.rand(3, 1, 40, 40)
    changed = 0.5 * images + torch.tensor([0.1, 0.2, 0.3])[:, None, None, None]
    for first, second in zip(backbone(images), backbone(changed), strict=True):
        torch.testing.assert_close(first, second, rtol=0.02, atol=2e-3)


def test_an_image_of_one_grey_has_gradients() -> None:
    image = torch.full((1, 1, 40, 40), 0.3, requires_grad=True)
    sharing.TCDCN()()(image)[-1].sum().backward()
    assert image.grad is not None and bool(torch.isfinite(image.grad).all())


def test_other_sizes_are_refused() -> None:
    with pytest.raises(PolytaskError, match=r"expected images of 40 x 40 pixels, got \[48, 40\]"):
        sharing.TCDCN()()(torch.zeros(1, 1, 48, 40))
    with pytest.raises(PolytaskError, match="at least 32 x 32 pixels, got size=31"):
        sharing.TCDCN(size=31)
    with pytest.raises(PolytaskError, match="at least one channel"):
        sharing.TCDCN(channels=0)
