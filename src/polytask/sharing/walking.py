"""Going up one or several backbones, stage by stage."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from polytask.sharing.backbone import Backbone


def walk_alone(backbone: Backbone, inputs: Any, change: Callable[[int, Tensor], Tensor]) -> list[Tensor]:
    """The features of a backbone in which the output of every stage is changed before it goes on.

    Args:
        backbone: with a `walk`.
        inputs: of the backbone.
        change: from the number of a stage (0 to S - 1) and its output to what goes on in its place, of the same shape.
    """
    return walk_together({"": backbone}, inputs, lambda stage, outputs: {"": change(stage, outputs[""])})[""]


def walk_together(
    backbones: Mapping[str, Backbone], inputs: Any, mix: Callable[[int, dict[str, Tensor]], Mapping[str, Tensor]]
) -> dict[str, list[Tensor]]:
    """The features of several backbones that go up together, mixed after every stage.

    Args:
        backbones: by task, all with equally many stages.
        inputs: of all of them.
        mix: from the number of a stage and the outputs of all backbones there to what goes on in each; a backbone that
            it leaves out stops there, and gives no features.

    >>> import torch
    >>> from polytask import sharing
    >>> both = {"a": sharing.MLP(3, widths=(4, 5))(), "b": sharing.MLP(3, widths=(4, 5))()}
    >>> swapped = lambda stage, outputs: {"a": outputs["b"], "b": outputs["a"]}
    >>> features = walk_together(both, torch.zeros(2, 3), swapped)
    >>> [tuple(each.shape) for each in features["a"]]
    [(2, 4), (2, 5)]
    """
    walks = {name: backbone.walk(inputs) for name, backbone in backbones.items()}
    outputs = {name: next(walk) for name, walk in walks.items()}
    features: dict[str, list[Tensor]] = {}
    stage = 0
    while True:
        mixed = mix(stage, outputs)
        outputs = {}
        for name, sent in mixed.items():
            try:
                outputs[name] = walks[name].send(sent)
            except StopIteration as end:
                features[name] = end.value
        if not outputs:
            return features
        stage += 1
