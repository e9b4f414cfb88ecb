"""Models at the public door: wrong arguments, task names, what `describe` says."""

from typing import Any

import pytest
import torch
from torch import nn

from polytask import sharing, tasks
from polytask.errors import PolytaskError

BOTH = (tasks.Binary("left"), tasks.Binary("right"))
MLP = sharing.MLP(3, widths=(4, 5))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: sharing.HardSharing(MLP, []), "at least one task"),
        (lambda: sharing.Independent(MLP, [BOTH[0], BOTH[0]]), "more than once: left"),
        (lambda: sharing.HardSharing(MLP, BOTH, shared_stages=3), r"from 0 \(nothing shared\) to 2 .*got 3"),
        (lambda: sharing.HardSharing(MLP, BOTH, shared_stages=-1), "got -1"),
        (lambda: sharing.HardSharing(MLP(), BOTH), "makes a fresh one at each call"),  # type: ignore[arg-type]
        (lambda: sharing.HardSharing(lambda: nn.Linear(3, 4), BOTH), "expected a Backbone"),  # type: ignore[arg-type, return-value]
    ],
)
def test_wrong_models_are_refused(make: Any, message: str) -> None:
    with pytest.raises(PolytaskError, match=message):
        make()


def test_unknown_task_asks_did_you_mean() -> None:
    with pytest.raises(PolytaskError, match="no task 'rigth'; did you mean 'right'"):
        sharing.HardSharing(MLP, BOTH)(torch.zeros(2, 3), tasks=["rigth"])


def test_any_order_and_repetition_of_tasks() -> None:
    inputs = torch.zeros(2, 3)
    assert list(sharing.HardSharing(MLP, BOTH)(inputs, tasks=["right", "left", "right"])) == ["left", "right"]
    assert list(sharing.Independent(MLP, BOTH)(inputs, tasks="right")) == ["right"]


@pytest.mark.parametrize("architecture", [sharing.HardSharing, sharing.Independent])
def test_any_task_name(architecture: Any) -> None:
    names = ["hours.per.week", "type", "training", "forward", "100 %", "keys", "of", "names", "a%2Eb", "a.b", "größe"]
    model = architecture(MLP, [tasks.Regression(name) for name in names])
    assert list(model(torch.zeros(2, 3))) == names
    assert [part.module.split(".", 1)[-1] for part in sharing.describe(model).parts][-len(names) :] == names


def test_a_backbone_of_ones_own_that_cannot_be_cut() -> None:
    class Own(sharing.Backbone):
        def __init__(self) -> None:
            super().__init__((3, 3))
            self.layer = nn.Linear(3, 3)

        def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
            return [self.layer(inputs), self.layer(self.layer(inputs))]

    for stages in (0, 2, None):
        assert sharing.HardSharing(Own, BOTH, shared_stages=stages)(torch.zeros(2, 3))["left"].shape == (2, 1)
    with pytest.raises(PolytaskError, match="cannot be cut after stage 1: share 0 or 2"):
        sharing.HardSharing(Own, BOTH, shared_stages=1)


def test_describe_counts() -> None:
    one = sum(each.numel() for each in MLP().parameters())
    described = sharing.describe(sharing.HardSharing(MLP, BOTH))
    assert (described.shared, described.parameters, described.separate) == (one, one + 12, 2 * one + 12)
    assert described.parts[0] == sharing.Part("shared", ("left", "right"), one)
    alone = sharing.describe(sharing.Independent(MLP, BOTH))
    assert (alone.shared, alone.parameters, alone.separate) == (0, 2 * one + 12, 2 * one + 12)
    assert str(alone).endswith("Nothing is shared.")
    assert max(map(len, str(described).splitlines())) < 80


def test_describe_says_what_a_scene_is_made_of() -> None:
    """A trunk that decodes, maps and a number: the number's head reads the last map, pooled."""
    scene = (tasks.Segmentation("parts", 4), tasks.Depth("far.depth"), tasks.Binary("dark"))
    described = sharing.describe(sharing.HardSharing(sharing.SegNet(1, (4, 8), (1, 1)), scene))
    assert [(part.module, part.tasks) for part in described.parts] == [
        ("shared", ("parts", "far.depth", "dark")),
        ("heads.parts", ("parts",)),
        ("heads.far.depth", ("far.depth",)),
        ("heads.dark", ("dark",)),
    ]
    convolution = 4 * 4 * 9 + 4  # before the task's own layer, a 1 x 1 convolution for maps
    assert [part.parameters for part in described.parts[1:]] == [convolution + 4 * 4 + 4, convolution + 4 + 1, 4 + 1]


def test_a_task_uses_no_norm_of_features_that_it_does_not_read() -> None:
    """Swin norms every stage's feature: those below the last are there for maps, and nobody else's."""
    pytest.importorskip("transformers")
    swin = sharing.Transformers(
        "swin",
        num_channels=1,
        image_size=32,
        patch_size=4,
        embed_dim=8,
        depths=(1, 1),
        num_heads=(1, 1),
        window_size=4,
    )
    model = sharing.HardSharing(swin, [tasks.Depth("depth"), tasks.Binary("dark")])
    users = {name: tasks for name, tasks in model.shared_by().items() if "hidden_states_norms" in name}
    assert [(name.split(".")[-2], tasks) for name, tasks in users.items() if "weight" in name] == [
        ("stage1", ("depth",)),
        ("stage2", ("depth", "dark")),
    ]


def test_describe_refuses_what_cannot_tell() -> None:
    with pytest.raises(PolytaskError, match="does not say what it shares"):
        sharing.describe(nn.Linear(1, 1))


@pytest.mark.parametrize("shape", [(2, 5), (2, 7, 5), (2, 5, 3, 4)])
def test_pool(shape: tuple[int, ...]) -> None:
    feature = torch.ones(shape)
    assert sharing.pool(feature).shape == (2, 5)
    assert sharing.pool(feature).eq(1).all()


def test_pool_refuses_other_shapes() -> None:
    with pytest.raises(PolytaskError, match=r"got \[2\]"):
        sharing.pool(torch.ones(2))
