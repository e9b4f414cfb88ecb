"""From features to predictions: decoders of maps, checked by hand, and which one a trunk gets by itself."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polytask import sharing, tasks
from polytask.errors import PolytaskError
from polytask.sharing.heads import image_size, make_head, reads, resize

SCENE = (tasks.Segmentation("parts", 4), tasks.Depth("depth"))


def set_weights(decoder: nn.Module, **weights: Tensor) -> nn.Module:
    """A decoder in evaluation, its norms doing nothing, with the weights of these convolutions set and no bias."""
    for name, module in decoder.eval().named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
        if isinstance(module, nn.Conv2d):
            with torch.no_grad():
                module.weight.copy_(weights[name.replace(".", "_")])
                if module.bias is not None:
                    module.bias.zero_()
    return decoder


def test_the_pyramid_is_the_sum_of_what_every_stage_says() -> None:
    one, centre = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 3, 3)
    centre[..., 1, 1] = 1
    decoder = set_weights(sharing.FPN(1)([1, 1]), laterals_0=one, laterals_1=10 * one, convolution=centre)
    fine = torch.tensor([[[[1.0, 2.0], [3.0, -99.0]]]])
    coarse = torch.tensor([[[[4.0]]]])
    assert decoder([fine, coarse]).tolist() == [[[[41.0, 42.0], [43.0, 0.0]]]]  # 1 fine + 10 coarse, and ReLU


def test_deeplab_looks_near_far_and_at_everything() -> None:
    one, right = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 3, 3)
    right[..., 1, 2] = 1  # what lies a dilation to the right
    decoder = set_weights(
        sharing.DeepLab(1, rates=(1, 2))([7, 1]),
        branches_0_0=one,
        branches_1_0=right,
        branches_2_0=right,
        pooled_0=one,
        together_0=torch.tensor([1.0, 10.0, 100.0, 1000.0]).view(1, 4, 1, 1),
    )
    last = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    # The map itself, 10 of the next, 100 of the one after it, 1000 of the mean.
    assert decoder([last]).tolist() == [[[[1 + 20 + 300 + 2000.0, 2 + 30 + 2000.0, 3 + 2000.0]]]]


def test_deeplab_trains_on_one_image() -> None:
    decoder = sharing.DeepLab(4, rates=(1,))([8])
    image = torch.randn(1, 8, 5, 5)
    norm = decoder.pooled[1]  # type: ignore[index]
    with torch.no_grad():
        norm.running_mean.fill_(0.5)
    pooled = decoder.pooled(image.mean((2, 3), keepdim=True))  # type: ignore[operator]
    assert norm.running_mean.eq(0.5).all()  # one value says nothing about the spread: nothing is learned of it
    torch.testing.assert_close(pooled, decoder.eval().pooled(image.mean((2, 3), keepdim=True)))  # type: ignore[operator]
    decoder.train()([image]).sum().backward()
    assert all(each.grad is not None for each in decoder.parameters())
    decoder([torch.randn(2, 8, 5, 5)])
    assert not norm.running_mean.eq(0.5).any()


@pytest.mark.parametrize(
    "backbone, decoder, expected",
    [
        (sharing.SmallCNN(1, (4, 8, 8)), None, (0, 1, 2)),
        (sharing.SegNet(1, (4, 8), (1, 1)), None, (3,)),
        (sharing.SegNet(1, (4, 8), (1, 1)), sharing.FPN(4), (0, 1, 2, 3)),
        (sharing.SmallCNN(1, (4, 8, 8)), sharing.DeepLab(4, (1, 2)), (2,)),
    ],
)
def test_what_the_heads_of_maps_read(backbone: Any, decoder: Any, expected: tuple[int, ...]) -> None:
    assert reads(backbone(), SCENE, decoder) == expected
    assert reads(backbone(), [*SCENE, tasks.Binary("dark")], decoder) == tuple(sorted({*expected, backbone().kept[-1]}))
    model = sharing.HardSharing(backbone, SCENE, decoder=decoder).eval()
    images = torch.randn(2, 1, 19, 34)  # no size that a stride divides
    assert {name: tuple(each.shape) for name, each in model(images).items()} == {
        "parts": (2, 4, 19, 34),
        "depth": (2, 1, 19, 34),
    }


def test_an_architecture_may_change_the_widths_that_heads_read() -> None:
    backbone = sharing.SmallCNN(1, (4, 8))()
    head = make_head(SCENE[1], backbone, widths=(3, 5))
    assert head([torch.zeros(2, 3, 8, 8), torch.zeros(2, 5, 4, 4)], (16, 16)).shape == (2, 1, 16, 16)
    assert make_head(tasks.Binary("dark"), backbone, widths=(3, 5)).weight.shape == (1, 5)


def test_a_map_of_that_size_stays_as_it_is() -> None:
    assert resize(image := torch.zeros(1, 1, 3, 4), (3, 4)) is image
    assert resize(torch.tensor([[[[0.0, 4.0]]]]), (1, 4)).tolist() == [[[[0.0, 1.0, 3.0, 4.0]]]]


def test_the_images_are_found_among_several_inputs() -> None:
    assert image_size({"time": torch.zeros(2, 1), "image": torch.zeros(2, 3, 5, 7)}) == (5, 7)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: sharing.FPN(0), "at least one channel"),
        (lambda: sharing.DeepLab(0), "at least one channel"),
        (lambda: sharing.DeepLab(4, rates=(0,)), "rates of 1 or more"),
        (lambda: sharing.HardSharing(sharing.MLP(4), SCENE)(torch.zeros(2, 4)), r"needs images .*got \[2, 4\]"),
        (lambda: sharing.HardSharing(sharing.MLP(16), SCENE)(torch.zeros(2, 1, 4, 4)), r"needs maps .*got \[2, 64\]"),
        (lambda: image_size({"a": torch.zeros(2)}), "needs images"),
        (lambda: sharing.HardSharing(sharing.SmallCNN(1), SCENE, decoder="fpn"), "expected a decoder .* 'fpn'"),  # type: ignore[arg-type]
        (lambda: sharing.MTAN(sharing.SmallCNN(1), SCENE, decoder=sharing.FPN), "expected a decoder"),  # type: ignore[arg-type]
    ],
)
def test_maps_of_what_is_no_map_are_refused(make: Any, message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        make()
