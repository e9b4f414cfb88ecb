"""Architectures, backbones and tasks that the contract is tested on; a new architecture joins with a line in MODELS."""

import importlib.util
from collections.abc import Callable
from typing import Any

import torch

from polytask import sharing, tasks

TASKS = (tasks.Binary("rain"), tasks.MultiClass("sky.colour", 3), tasks.Regression("type"))
TINY = {"num_channels": 1, "image_size": 32}
BACKBONES: dict[str, Callable[[], sharing.Backbone]] = {
    "mlp": sharing.MLP(5, widths=(6, 7)),
    "table": sharing.MLP(sharing.TableInputs(2, (3, 4)), widths=(6, 7), dropout=0.1),
    "cnn": sharing.SmallCNN(1, widths=(3, 4, 5)),
}
if importlib.util.find_spec("transformers"):
    BACKBONES |= {
        "resnet": sharing.Transformers(
            "resnet", num_channels=1, embedding_size=4, hidden_sizes=(4, 8), depths=(1, 1), layer_type="basic"
        ),
        "swin": sharing.Transformers(
            "swin", **TINY, patch_size=4, embed_dim=8, depths=(1, 1), num_heads=(1, 1), window_size=4
        ),
        "dinov2": sharing.Transformers(
            "dinov2", **TINY, patch_size=16, hidden_size=8, num_hidden_layers=2, num_attention_heads=1
        ),
    }


def inputs_for(name: str) -> Any:
    generator = torch.Generator().manual_seed(1)
    if name == "mlp":
        return torch.randn(4, 5, generator=generator)
    if name == "table":
        numbers = torch.randn(4, 2, generator=generator)
        return {"numbers": numbers, "categories": torch.randint(0, 3, (4, 2), generator=generator)}
    return torch.randn(4, 1, 32, 32, generator=generator)


MODELS: dict[str, Callable[..., sharing.MultiTaskModel]] = {
    "independent": sharing.Independent,
    "hard, 0 shared": lambda backbone, all_tasks: sharing.HardSharing(backbone, all_tasks, shared_stages=0),
    "hard, 1 shared": lambda backbone, all_tasks: sharing.HardSharing(backbone, all_tasks, shared_stages=1),
    "hard, all shared": sharing.HardSharing,
}
