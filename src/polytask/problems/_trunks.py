"""The network that reads a table: what suits its columns and its size, and what is said about it."""

from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any

from polytask.data.tables import TablePreprocessing
from polytask.data.tables.encoders import Encoder
from polytask.data.tables.images import ImageEncoder
from polytask.data.tables.texts import TextEncoder, TokenEncoder
from polytask.data.tables.vectors import VectorEncoder
from polytask.errors import PolytaskError
from polytask.sharing import MLP, Fusion, PartInput, Pictures, SmallCNN, TableInputs, Vector, Words
from polytask.sharing.backbones.naming import recipe_named

NUMBERS = "numbers"
SHORT = 64
"""Longer vectors go through a layer of so many numbers, so that they don't drown the rest."""


def trunk_for(
    preprocessing: TablePreprocessing, rows: int, said: str | Mapping[str, Any] | None = None, where: str = ""
) -> Callable[[], Any]:
    """The recipe of the network that reads a table.

    An `MLP` for numbers and categories; a `Fusion` where columns have an input of their own: `Words` for texts,
    `Pictures` on a `SmallCNN` for images, `Vector` for vectors.

    Args:
        preprocessing: of the table.
        rows: for training.
        said: in its place, by a dotted name; or what shall be other than by default: parts, widths, dropout.
        where: that was said, for errors.

    Raises:
        PolytaskError: a part is named for a column that is no input of its own, or can't be read.
    """
    widths = (64, 64) if rows < 20_000 else (128, 64)
    table = TableInputs(len(preprocessing.features), preprocessing.cardinalities) if _shared(preprocessing) else None
    own = {each.name: each for each in preprocessing.encoders if each.own_input}
    default: Any = MLP(table, widths) if table and not own else None
    if default is None:
        parts = ({NUMBERS: table} if table else {}) | {name: part_of(each) for name, each in own.items()}
        reads = {name: form_of(each) for name, each in own.items()}
        default = Fusion(parts, widths, reads=reads)
    if said is None:
        return default
    try:
        return _named(said) if isinstance(said, str) else _changed(default, said)
    except PolytaskError as error:
        raise PolytaskError(f"{where}trunk: {error}") from error


def _shared(preprocessing: TablePreprocessing) -> bool:
    """Whether there are numbers or categories."""
    return bool(preprocessing.features or preprocessing.cardinalities)


def _named(said: str) -> Any:
    """A whole trunk of one's own."""
    if "." not in said.partition("(")[0]:
        raise PolytaskError(
            f"expected one of your own by its dotted name (my_module.Trunk), or its parts, widths and dropout, "
            f"got '{said}'"
        )
    return recipe_named(said, {})


def _changed(default: MLP | Fusion, said: Mapping[str, Any]) -> Fusion:
    asked = Fusion(said.get("parts", {}), said.get("widths", default.widths), said.get("dropout", default.dropout))
    return asked.completed(default)


@singledispatch
def part_of(encoder: Encoder) -> Any:
    """The part that reads a column by default."""
    raise PolytaskError(f"column '{encoder.name}': no part is known for {type(encoder).__name__}; name one under trunk")


@singledispatch
def form_of(encoder: Encoder) -> PartInput:
    """What the column's input looks like."""
    raise PolytaskError(f"column '{encoder.name}': {type(encoder).__name__} does not say what its input looks like")


@part_of.register
def _(encoder: TextEncoder) -> Words:
    return Words(encoder.size)


@part_of.register
def _(encoder: TokenEncoder) -> Words:
    return Words(encoder.size)


@part_of.register
def _(encoder: ImageEncoder) -> Pictures:
    return Pictures(SmallCNN(3))


@part_of.register
def _(encoder: VectorEncoder) -> Vector:
    length = len(encoder.mean)
    return Vector(length, 0 if length <= SHORT else SHORT)


@form_of.register
def _(encoder: TextEncoder) -> PartInput:
    return PartInput((encoder.length,), encoder.size)


@form_of.register
def _(encoder: TokenEncoder) -> PartInput:
    return PartInput((encoder.length,), encoder.size)


@form_of.register
def _(encoder: ImageEncoder) -> PartInput:
    return PartInput((3, encoder.height, encoder.width))


@form_of.register
def _(encoder: VectorEncoder) -> PartInput:
    return PartInput((len(encoder.mean),))
