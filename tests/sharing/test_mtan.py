"""MTAN: masks as the formula has them, between hard sharing (masks of ones) and nothing at all (zeros)."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polytask import sharing, tasks
from polytask.errors import PolytaskError

BOTH = [tasks.Segmentation("classes", classes=3), tasks.Depth("depth")]
VECTORS = [tasks.Regression("one"), tasks.Regression("two")]
DENSE_ONE = BOTH[1]
CNN = sharing.SmallCNN(1, widths=(4, 6, 8))


class Times(nn.Module):
    """x -> factor x, of one channel."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def plain_norms(model: nn.Module) -> None:
    """Batch normalisation that changes nothing."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
    model.eval()


def set_masks(model: sharing.MTAN, task: str, value: float) -> None:
    """Every mask of the task is sigmoid(value), whatever it sees."""
    attention: Any = model.attention.of(task)
    for mask in attention.masks:
        nn.init.zeros_(mask[4].weight)
        nn.init.constant_(mask[4].bias, value)


def test_the_published_formula_by_hand() -> None:
    """p = 2 and 4. a_1 = sigmoid(ln 3) = 3/4, a^_1 = 3/2, f = 3/2, W1 [4, 3/2] = 4 - 3 = 1, a_2 = 3/4, a^_2 = 3."""
    backbone = lambda: sharing.SequentialBackbone([Times(1.0), Times(2.0)], widths=(1, 1))  # noqa: E731
    model = sharing.MTAN(backbone, VECTORS[:1])
    plain_norms(model)
    attention: Any = model.attention.of("one")
    first, second = attention.masks
    with torch.no_grad():
        first[0].weight.fill_(1.0)
        first[3].weight.fill_(math.log(3.0) / 2)
        model.extractors[0].convolution.weight.fill_(1.0)  # type: ignore[index,union-attr]
        second[0].weight.copy_(torch.tensor([1.0, -2.0]).view(1, 2, 1, 1))
        second[3].weight.fill_(math.log(3.0))
        head: Any = model.heads.of("one")
        head.weight.fill_(1.0)
        head.bias.fill_(0.0)
    torch.testing.assert_close(model(torch.tensor([[2.0]]))["one"], torch.tensor([[3.0]]))


@pytest.mark.parametrize("given", [BOTH, VECTORS])
def test_masks_of_ones_are_hard_sharing(given: list[tasks.Task]) -> None:
    model = sharing.MTAN(CNN, given)
    hard = sharing.HardSharing(CNN, given)
    hard.shared.load_state_dict(model.shared.state_dict())
    hard.heads.load_state_dict(model.heads.state_dict())
    for task in given:
        set_masks(model, task.name, math.inf)
    images = torch.randn(3, 1, 16, 16)
    for name, prediction in hard.eval()(images).items():
        torch.testing.assert_close(model.eval()(images)[name], prediction)


def test_masks_of_zeros_cut_the_task_off() -> None:
    model = sharing.MTAN(CNN, BOTH).eval()
    set_masks(model, "depth", -math.inf)
    one, two = (model(torch.randn(2, 1, 16, 16)) for _ in range(2))
    assert torch.equal(one["depth"], two["depth"])
    assert not torch.allclose(one["classes"], two["classes"])
    shared = list(model.shared.parameters())
    assert all(each.abs().sum() == 0 for each in torch.autograd.grad(one["depth"].sum(), shared))


def test_extractors_are_shared_unless_own_ones_are_asked_for() -> None:
    def users(model: sharing.MTAN) -> set[tuple[str, ...]]:
        return {users for name, users in model.shared_by().items() if "extractors" in name}

    assert users(sharing.MTAN(CNN, BOTH)) == {("classes", "depth")}
    assert users(sharing.MTAN(CNN, BOTH, own_extractors=True)) == {("classes",), ("depth",)}


def test_with_own_extractors_shared_gradients_pass_through_the_features() -> None:
    model = sharing.MTAN(CNN, BOTH, own_extractors=True).double().eval()
    predictions, features = model.forward_with_features(torch.randn(2, 1, 16, 16).double())
    assert isinstance(features, list)
    assert [each.shape[1] for each in features] == [4, 6, 8]
    shared = list(model.shared.parameters())
    for prediction in predictions.values():
        loss = prediction.square().sum()
        direct = torch.autograd.grad(loss, shared, retain_graph=True)
        at_features = torch.autograd.grad(loss, features, retain_graph=True)
        through = torch.autograd.grad(features, shared, at_features, retain_graph=True)
        torch.testing.assert_close(through, direct)


def test_shared_extractors_lie_above_the_features_so_there_is_no_one_place() -> None:
    assert sharing.MTAN(CNN, BOTH).forward_with_features(torch.randn(2, 1, 16, 16))[1] is None


@pytest.mark.parametrize("size", [(20, 28), (16, 16)])
def test_sizes_that_shrink_and_grow(size: tuple[int, int]) -> None:
    """An encoder-decoder: pooled on the way down, also where sizes don't divide, enlarged on the way up."""
    model = sharing.MTAN(sharing.SegNet(1, widths=(4, 6), convolutions=(1, 1)), BOTH)
    predictions = model(torch.randn(2, 1, *size))
    assert {name: tuple(each.shape) for name, each in predictions.items()} == {
        "classes": (2, 3, *size),
        "depth": (2, 1, *size),
    }


def test_pooling_takes_the_largest_of_every_window() -> None:
    extractor = sharing.MTAN(CNN, BOTH).extractors[0]  # type: ignore[index]
    x = torch.randn(2, 4, 8, 8)
    whole = torch.relu(extractor.norm(extractor.convolution(x)))  # type: ignore[operator]
    torch.testing.assert_close(extractor(x, (4, 4)), torch.nn.functional.max_pool2d(whole, 2))
    torch.testing.assert_close(extractor(x, (3, 5)), torch.nn.functional.adaptive_max_pool2d(whole, (3, 5)))


class Tokens(nn.Module):
    def __init__(self, below: int, above: int) -> None:
        super().__init__()
        self.linear = nn.Linear(below, above)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def test_tokens_are_attended_one_by_one() -> None:
    model = sharing.MTAN(lambda: sharing.SequentialBackbone([Tokens(3, 4), Tokens(4, 5)], (4, 5)), VECTORS).eval()
    assert model.kernel == 1
    x = torch.randn(2, 6, 3)
    backwards = model(x.flip(1))
    for name, prediction in model(x).items():
        torch.testing.assert_close(backwards[name], prediction)  # pooled at the end: their order does not matter
    wide = sharing.MTAN(lambda: sharing.SequentialBackbone([Tokens(3, 4), Tokens(4, 5)], (4, 5)), VECTORS, kernel=3)
    with pytest.raises(PolytaskError, match=r"tokens \[b, n, c\], n = 6, have no neighbours"):
        wide(x)


def test_a_kernel_has_a_middle() -> None:
    with pytest.raises(PolytaskError, match="odd"):
        sharing.MTAN(CNN, BOTH, kernel=2)


def test_reduction_makes_the_masks_smaller() -> None:
    whole, quarter = (
        sum(each.numel() for each in sharing.MTAN(CNN, BOTH, reduction=r).attention.parameters()) for r in (1, 4)
    )
    assert quarter < 0.4 * whole


def test_masks_can_be_looked_at() -> None:
    model = sharing.MTAN(CNN, BOTH)
    assert model.inside() == {}
    set_masks(model, "depth", math.log(3.0))
    model(torch.randn(2, 1, 16, 16))
    assert model.inside()["attention of depth"] == pytest.approx({"stage 1": 0.75, "stage 2": 0.75, "stage 3": 0.75})
    assert model.maps_inside() == {}
    model.keep_maps = True
    model.eval()(torch.randn(2, 1, 16, 16), tasks=["depth"])
    maps = model.maps_inside()
    assert [tuple(each.shape) for each in maps.values()] == [(2, 8, 8), (2, 4, 4), (2, 2, 2)]
    assert all("depth" in label and not each.requires_grad for label, each in maps.items())
    torch.testing.assert_close(next(iter(maps.values())), torch.full((2, 8, 8), 0.75))


def test_a_model_can_be_copied_in_the_middle_of_training() -> None:
    model = sharing.MTAN(CNN, BOTH)
    images = torch.randn(2, 1, 16, 16)
    model(images)
    twin = copy.deepcopy(model)
    for name, prediction in model.eval()(images).items():
        torch.testing.assert_close(twin.eval()(images)[name], prediction)


def test_a_task_has_no_attention_above_the_stages_that_it_reads() -> None:
    class Lowest(sharing.LastMap):
        def reads(self, stages: int) -> tuple[int, ...]:
            return (0,)

        def width(self, widths: Sequence[int]) -> int:
            return widths[0]

        def __call__(self, widths: Sequence[int]) -> nn.Module:
            return super().__call__(widths[:1])

    model = sharing.MTAN(CNN, [DENSE_ONE, VECTORS[0]], decoder=Lowest())
    predictions = model(torch.randn(2, 1, 16, 16))
    names, parameters = zip(*model.named_parameters(), strict=True)
    for task, prediction in predictions.items():
        found = torch.autograd.grad(prediction.sum(), parameters, retain_graph=True, allow_unused=True)
        for name, each in zip(names, found, strict=True):
            assert (task in model.shared_by()[name]) == (each is not None), (task, name)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(PolytaskError, match="reduction"):
        sharing.MTAN(CNN, VECTORS, reduction=0)
