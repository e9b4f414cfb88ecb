"""A trunk for inputs of several kinds: a part for each, joined."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from polytask._plain import rebuild
from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.sharing._per_task import PerTask
from polytask.sharing.backbone import Backbone, SequentialBackbone, build
from polytask.sharing.backbones.dilated_resnet import DilatedResNet
from polytask.sharing.backbones.imported import Imported
from polytask.sharing.backbones.inputs import PartInput
from polytask.sharing.backbones.language import Language
from polytask.sharing.backbones.mlp import MLP, layers
from polytask.sharing.backbones.naming import recipe_named
from polytask.sharing.backbones.others import Timm, Torchvision
from polytask.sharing.backbones.pictures import Pictures, Vector
from polytask.sharing.backbones.segnet import SegNet
from polytask.sharing.backbones.small_cnn import SmallCNN
from polytask.sharing.backbones.table import TableInputs
from polytask.sharing.backbones.transformers import Transformers
from polytask.sharing.backbones.words import Words
from polytask.sharing.heads.pooling import pool

PARTS: tuple[Callable[..., Any], ...] = (
    TableInputs, Words, Language, Pictures, Vector, MLP, SmallCNN, SegNet, DilatedResNet, Transformers, Timm,
    Torchvision,
)  # fmt: skip
"""What can be named as a part; anything else by a dotted name."""


@dataclass(frozen=True)
class Fusion:
    """Inputs of several kinds: a part for each makes a vector, the vectors are joined, and an MLP reads them.

        h_0 = [part_1(x_1), ..., part_k(x_k)],  h_s = relu(W_s h_{s-1} + b_s) for every stage s.

    Args:
        parts: what reads each input, by the input's name: a recipe (`Words`, `Pictures`, `Vector`, `TableInputs` under
            the name "numbers", a recipe of any backbone), any function that makes an `nn.Module`, or the name of one as
            text: "Words(width=128)", "my_parts.Photo". A module gives [b, w], or tokens [b, n, w] or maps
            [b, w, h', w'], of which the mean is taken; or the features of several stages, of which the last is read.
            Its w is its attribute `width`, or is found by trying it on an input as `reads` says. Pictures of bytes are
            made 0..1 for it. A module with `whole_rows = True` reads the dict of all inputs.
        widths: of the stages above; chosen by us, on tables of some thousand rows.
        dropout: the probability with which an output of a stage is left out in training.
        reads: the form of the inputs, by name: fills in what parts leave open (how many words there are).

    Called, it makes a fresh backbone with weights from torch's global generator: `{name: [b, ...]}` in, len(widths)
    stages. All parts belong to the first stage.

    Raises:
        PolytaskError: when called: a part can't be built, or its width can't be found.

    >>> trunk = Fusion({"numbers": TableInputs(2, (3,)), "review": Words(20, width=8)}, widths=(16, 4))()
    >>> rows = {"numbers": torch.zeros(5, 2), "categories": torch.zeros(5, 1).int(), "review": torch.ones(5, 7).int()}
    >>> [tuple(each.shape) for each in trunk(rows)]
    [(5, 16), (5, 4)]
    """

    parts: Mapping[str, Any] = field(hash=False)
    widths: tuple[int, ...] = (128, 64)
    dropout: float = 0.0
    reads: Mapping[str, PartInput] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        parts = {name: _recipe(part) for name, part in self.parts.items()}
        for name, part in parts.items():
            if not isinstance(part, TableInputs) and not callable(part):
                raise PolytaskError(
                    f"the part for '{name}' must be a recipe such as Words(), or a function that makes an nn.Module, "
                    f"got {part!r}"
                )
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "widths", tuple(self.widths))
        if not 0 <= self.dropout < 1:
            raise PolytaskError(f"dropout must be from 0 to below 1, got {self.dropout}")

    def completed(self, own: Any) -> Self:
        """This trunk for the inputs of a problem: parts that it does not name are those of the problem's own trunk.

        Raises:
            PolytaskError: it names an input that the problem does not have, or the problem has but one input.
        """
        if isinstance(own, MLP) and isinstance(own.inputs, TableInputs):
            own = Fusion({"numbers": own.inputs})
        if not isinstance(own, Fusion):
            raise PolytaskError("Fusion is for tables, whose columns are inputs by name; this problem has one input")
        for name in self.parts:
            if name not in own.parts:
                raise PolytaskError(f"no input '{name}' for a part of Fusion; {did_you_mean(name, own.parts)}")
        return replace(self, parts={**own.parts, **self.parts}, reads={**own.reads, **self.reads})

    def __call__(self) -> SequentialBackbone:
        if not self.parts:
            raise PolytaskError("Fusion has no parts; name what reads each input, as in Fusion({'text': Words(5000)})")
        joined = Joined({name: _part(name, each, self.reads.get(name)) for name, each in self.parts.items()})
        return layers(joined, joined.width, self.widths, self.dropout)


def _recipe(part: Any) -> Any:
    """A part as an object, where it is text, or plain data such as a saved run holds."""
    if isinstance(part, str):
        return recipe_named(part, {each.__name__: each for each in PARTS})
    if isinstance(part, Mapping) and part.keys() == {"class", "args"}:
        return rebuild(part, (*PARTS, PartInput, Imported))
    return part


class Joined(nn.Module):
    """The vectors of all parts, one after the other: {name: [b, ...]} in, [b, width] out."""

    def __init__(self, parts: Mapping[str, tuple[nn.Module, int]]) -> None:
        super().__init__()
        self.names = tuple(parts)
        self.widths = tuple(width for _, width in parts.values())
        self.parts = PerTask({name: part for name, (part, _) in parts.items()})

    @property
    def width(self) -> int:
        """How many numbers come out."""
        return sum(self.widths)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        if not isinstance(inputs, Mapping):
            raise PolytaskError(
                f"expected inputs by name ({', '.join(self.names)}), got {type(inputs).__name__}; this network reads "
                "several inputs"
            )
        return torch.cat([self._vector(name, inputs) for name in self.names], 1)

    def _vector(self, name: str, inputs: Mapping[str, Tensor]) -> Tensor:
        part = self.parts.of(name)
        if not getattr(part, "whole_rows", False) and name not in inputs:
            raise PolytaskError(f"the input '{name}' is missing; {did_you_mean(name, inputs)}")
        try:
            vector = _read(part, inputs, name)
        except PolytaskError as error:
            raise PolytaskError(f"input '{name}': {error}") from error
        return vector


def _read(part: nn.Module, inputs: Mapping[str, Tensor], name: str) -> Tensor:
    """What a part makes of its input, [b, w]."""
    if getattr(part, "whole_rows", False):
        return part(inputs)
    found = part(_scaled(inputs[name], part))
    last = found[-1] if isinstance(found, list | tuple) else found
    if not isinstance(last, Tensor):
        raise PolytaskError(f"{type(part).__name__} gives {type(last).__name__}, expected a tensor [b, w]")
    return pool(last)


def _scaled(column: Tensor, part: nn.Module) -> Tensor:
    """Bytes as 0..1, in the precision of the part."""
    if column.dtype != torch.uint8:
        return column
    like = next(part.parameters(), None)
    return column.to(torch.float32 if like is None else like.dtype) / 255


def _part(name: str, recipe: Any, reads: PartInput | None) -> tuple[nn.Module, int]:
    """A fresh module and its width."""
    if reads is not None and hasattr(recipe, "suited"):
        recipe = recipe.suited(reads)
    try:
        part = recipe()
    except PolytaskError as error:
        raise PolytaskError(f"the part for '{name}': {error}") from error
    if not isinstance(part, nn.Module):
        raise PolytaskError(f"the part for '{name}' must make an nn.Module, got {type(part).__name__}")
    if isinstance(part, Backbone):
        part = build(lambda: part)
        return part, part.widths[-1]
    width = getattr(part, "width", None)
    return part, width if isinstance(width, int) else _tried(name, part, reads)


def _tried(name: str, part: nn.Module, reads: PartInput | None) -> int:
    """The width of what a module gives, by a look at an example."""
    if reads is None:
        raise PolytaskError(
            f"the part for '{name}' does not say how many numbers it gives: set self.width in {type(part).__name__}, "
            f"or tell Fusion what it reads, as in reads={{'{name}': PartInput((3, 64, 64))}}"
        )
    before = part.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return _read(part.eval(), {name: reads.example()}, name).shape[1]
    except PolytaskError as error:
        raise PolytaskError(f"the part for '{name}': {error}") from error
    except Exception as error:
        raise PolytaskError(
            f"the part for '{name}' can't read {'whole numbers' if reads.vocabulary else 'numbers'} of shape "
            f"[b, {', '.join(map(str, reads.shape))}]: {type(error).__name__}: {error}"
        ) from error
    finally:
        part.train(before)
