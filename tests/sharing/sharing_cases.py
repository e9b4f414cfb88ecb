"""Architectures, backbones and tasks that the contract is tested on; a new architecture joins with a line in MODELS:

    "cross-stitch": Case(sharing.CrossStitch, needs=2),
    "adapters": Case(sharing.Adapters, without={"mlp": "adapters sit in attention layers", "autocast_is_near": "..."}),

A bare callable (backbone, tasks) -> model is a Case of that alone.
"""

import functools
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from polytask import sharing, tasks


@dataclass(frozen=True)
class Case:
    """An architecture as the contract matrix builds it.

    Args:
        make: (backbone recipe, tasks) -> model.
        needs: the least number of tasks that it works with; with fewer it raises PolytaskError, which is tested.
        without: what its nature forbids, each with the reason: by the name of a backbone in BACKBONES, of a mix of
            tasks in MIXES ("vector", "dense", "mixed"), or of a claim (a test of test_contract.py without "test_").
    """

    make: Callable[..., sharing.MultiTaskModel]
    needs: int = 1
    without: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, backbone: Callable[[], sharing.Backbone], given: Sequence[tasks.Task]) -> sharing.MultiTaskModel:
        return self.make(backbone, given)


TASKS = (tasks.Binary("rain"), tasks.MultiClass("sky.colour", 3), tasks.Regression("type"))
MIXES: dict[str, tuple[tasks.Task, ...]] = {
    "vector": (*TASKS, tasks.Binary("wet %"), tasks.Regression("forward")),
    "dense": (
        tasks.Segmentation("parts", 4),
        tasks.Depth("depth"),
        tasks.Depth("far.depth"),
        tasks.Segmentation("keys", 2),
        tasks.Depth("type"),
    ),
    "mixed": (
        tasks.Segmentation("parts", 4),
        tasks.Binary("rain"),
        tasks.Depth("far.depth"),
        tasks.MultiClass("sky.colour", 3),
        tasks.Depth("type"),
    ),
    "many": (tasks.ManyRegression("scores", 3, "user"), tasks.ManyBinary("assays", 4), tasks.Binary("rain")),
}
TINY = {"num_channels": 1, "image_size": 32}
BACKBONES: dict[str, Callable[[], sharing.Backbone]] = {
    "mlp": sharing.MLP(5, widths=(6, 8)),
    "table": sharing.MLP(sharing.TableInputs(2, (3, 4)), widths=(6, 8), dropout=0.1),
    "cnn": sharing.SmallCNN(1, widths=(4, 6, 8)),
    "fusion": sharing.Fusion(
        {
            "numbers": sharing.TableInputs(2, (3,)),
            "a.note": sharing.Words(6, width=4, windows=(2,), filters=3),
            "photo": sharing.SmallCNN(3, widths=(2, 3)),
            "place": sharing.Vector(3, width=2),
        },
        widths=(6, 8),
    ),
    "segnet": sharing.SegNet(1, widths=(4, 6), convolutions=(1, 1)),
    "tcdcn": sharing.TCDCN(1, size=32, features=6),
    "dilated": sharing.DilatedResNet(1, layers=(1, 1, 1), widths=(4, 4, 8)),
}
if importlib.util.find_spec("transformers"):
    BACKBONES |= {
        "resnet": sharing.Transformers(
            "resnet", num_channels=1, embedding_size=4, hidden_sizes=(4, 8), depths=(1, 1), layer_type="basic"
        ),
        "convnext": sharing.Transformers("convnext", **TINY, num_stages=2, hidden_sizes=(4, 8), depths=(1, 1)),
        "swin": sharing.Transformers(
            "swin", **TINY, patch_size=4, embed_dim=8, depths=(1, 1), num_heads=(1, 1), window_size=4
        ),
        "dinov2": sharing.Transformers(
            "dinov2", **TINY, patch_size=16, hidden_size=8, num_hidden_layers=2, num_attention_heads=1
        ),
        "segformer": sharing.Transformers(
            "segformer",
            num_channels=1,
            num_encoder_blocks=2,
            depths=(1, 1),
            hidden_sizes=(4, 8),
            num_attention_heads=(1, 1),
        ),
    }


def inputs_for(name: str) -> Any:
    generator = torch.Generator().manual_seed(1)
    if name == "mlp":
        return torch.randn(4, 5, generator=generator)
    if name == "table":
        numbers = torch.randn(4, 2, generator=generator)
        categories = torch.randint(0, 3, (4, 2), generator=generator)
        return {"numbers": numbers, "categories": categories, "user": torch.tensor([2, 0, 1, 2])}
    if name == "fusion":
        return {
            "numbers": torch.randn(4, 2, generator=generator),
            "categories": torch.randint(0, 3, (4, 1), generator=generator),
            "a.note": torch.randint(1, 6, (4, 5), generator=generator, dtype=torch.int32),
            "photo": torch.randint(0, 256, (4, 3, 8, 8), generator=generator, dtype=torch.uint8),
            "place": torch.randn(4, 3, generator=generator),
        }
    return torch.randn(4, 1, 32, 32, generator=generator)


def targets_for(given: Sequence[tasks.Task]) -> dict[str, Tensor]:
    """Labels of four samples: classes and sides by chance, metres and numbers from 0 to 1."""
    generator = torch.Generator().manual_seed(2)
    targets = {}
    for task in given:
        if isinstance(task, tasks.Many):
            every = torch.rand(4, len(task.member_names), generator=generator).round()
            targets[task.name] = tasks.of_members(every[:, 0], torch.tensor([2, 0, 1, 2])) if task.column else every
            continue
        shape = (4, 32, 32) if task.dense else (4,)
        classes = torch.randint(0, max(task.outputs, 2), shape, generator=generator)
        counted = isinstance(task, tasks.Segmentation | tasks.MultiClass)
        targets[task.name] = classes if counted or isinstance(task, tasks.Binary) else 0.5 + 0.5 * classes.float()
    return targets


NO_INPUTS = {"many": "its heads are not shown the inputs, which say whose a row is"}
NO_PYRAMID = {
    "vector": "tasks with maps exchange features",
    "many": "tasks with maps exchange features",
    "segnet": "it decodes already",
    "dinov2": "its stages have one size",
}
MODELS: dict[str, Any] = {
    "independent": Case(sharing.Independent),
    "hard, 0 shared": Case(functools.partial(sharing.HardSharing, shared_stages=0)),
    "hard, 1 shared": Case(functools.partial(sharing.HardSharing, shared_stages=1)),
    "hard, all shared": Case(sharing.HardSharing),
    "mtan": Case(sharing.MTAN),
    "mtan, own extractors": Case(functools.partial(sharing.MTAN, own_extractors=True)),
    "conditioned, FiLM": Case(sharing.Conditioned),
    "conditioned, concatenation": Case(functools.partial(sharing.Conditioned, by=sharing.Concatenation())),
    "conditioned, addition": Case(
        functools.partial(sharing.Conditioned, by=sharing.Addition(), descriptors=sharing.LearnedDescriptors(2))
    ),
    "conditioned, gating": Case(functools.partial(sharing.Conditioned, by=sharing.Gating())),
    "ASTMT": Case(functools.partial(sharing.ASTMT, discriminator=None)),
    "ASTMT, discriminator": Case(sharing.ASTMT),
    "adapters, LoRA": Case(functools.partial(sharing.Adapters, by=sharing.LoRA(rank=2))),
    "pooled": Case(sharing.Pooled),
    "separate": Case(sharing.Separate),
    "adapters, bottleneck": Case(functools.partial(sharing.Adapters, by=sharing.Bottleneck(width=2))),
    "PAD-Net, concatenation": Case(
        functools.partial(sharing.PADNet, distillation=sharing.ConcatenationDistillation()), needs=2, without=NO_INPUTS
    ),
    "PAD-Net, messages": Case(
        functools.partial(sharing.PADNet, distillation=sharing.MessagePassing()), needs=2, without=NO_INPUTS
    ),
    "PAD-Net, gated": Case(sharing.PADNet, needs=2, without=NO_INPUTS),
    "MTI-Net": Case(
        functools.partial(sharing.MTINet, channels=4),
        needs=2,
        without=NO_PYRAMID | {"mixed": "the first two of these are not both maps"},
    ),
    "MTI-Net beside vectors": Case(
        functools.partial(sharing.MTINet, channels=4), needs=3, without=NO_PYRAMID | {"dense": "tested above"}
    ),
    "cascade": Case(sharing.Cascade, needs=2, without=NO_INPUTS),
    "cascade, detached": Case(functools.partial(sharing.Cascade, differentiable=False), needs=2, without=NO_INPUTS),
    "cascade of features": Case(functools.partial(sharing.Cascade, features=True), needs=2, without=NO_INPUTS),
    "soft sharing": Case(sharing.SoftSharing, needs=2),
    "soft sharing of activations": Case(functools.partial(sharing.SoftSharing, activations=True), needs=2),
    "cross-stitch": Case(sharing.CrossStitch, needs=2),
    "cross-stitch per layer": Case(functools.partial(sharing.CrossStitch, per_channel=False), needs=2),
    "cross-stitch below": Case(functools.partial(sharing.CrossStitch, stages=(0,)), needs=2),
    "NDDR": Case(sharing.NDDR, needs=2),
    "NDDR, shortcut": Case(
        functools.partial(sharing.NDDR, shortcut=True),
        needs=2,
        without={"swin": "stages of different numbers of tokens"},
    ),
    "sluice": Case(sharing.Sluice, needs=2),
    "sluice, one subspace": Case(functools.partial(sharing.Sluice, subspaces=1), needs=2),
}
