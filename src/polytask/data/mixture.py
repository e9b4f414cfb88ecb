"""One data set per task, or per domain, stacked to one."""

from collections.abc import Mapping

import torch
from torch import Tensor

from polytask.data.arrays import TensorData
from polytask.data.batch import columns_of, missing
from polytask.data.sources import Sources
from polytask.errors import PolytaskError


def mixture(parts: Mapping[str, TensorData]) -> TensorData:
    """Several data sets with inputs of one form as one, which knows where every row came from.

    Tasks that several parts have are one task there. A task that a part lacks has no label in its rows. Samplers draw
    from the parts (`TensorData.pools`); without a sampler all rows are shuffled together.

    Args:
        parts: the data sets, by the name of the task or domain that each is for.

    Returns:
        All rows, those of the first part first; `sources` tells the part of each.

    Raises:
        PolytaskError: there is no part, or their inputs, their targets for one task, or what is done with a batch
            (`transform`, `augment`) differ.

    Cost: one copy of all columns.

    >>> books = TensorData(torch.zeros(2, 3), {"stars": torch.tensor([4.0, 5.0])})
    >>> films = TensorData(torch.ones(1, 3), {"seen": torch.tensor([1])})
    >>> both = mixture({"books": books, "films": films})
    >>> {task: labels.tolist() for task, labels in both.targets.items()}
    {'stars': [4.0, 5.0, nan], 'seen': [-100, -100, 1]}
    >>> {name: rows.tolist() for name, rows in both.pools().items()}
    {'books': [0, 1], 'films': [2]}
    """
    if not isinstance(parts, Mapping):
        raise PolytaskError(
            f"a mixture needs data sets by name, as in mixture({{'books': data}}), got a {type(parts).__name__}: give "
            "a mapping of names to data sets"
        )
    if not parts:
        raise PolytaskError("a mixture needs at least one data set, as in mixture({'books': data})")
    inputs = {name: columns_of(data.inputs) for name, data in parts.items()}
    (first, model), *rest = parts.items()
    for name, data in rest:
        _same_form(first, inputs[first], name, inputs[name])
        _same_use(first, model, name, data)
    of_row = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(data) for data in parts.values()]))
    stacked = {each: torch.cat([found[each] for found in inputs.values()]) for each in inputs[first]}
    tasks = dict.fromkeys(task for data in parts.values() for task in data.targets)
    return TensorData(
        stacked.get("", stacked),
        {task: _target(task, parts) for task in tasks},
        model.transform,
        model.augment,
        Sources(tuple(parts), of_row),
    )


def _same_form(first: str, model: Mapping[str, Tensor], name: str, columns: Mapping[str, Tensor]) -> None:
    """The inputs of two parts are alike."""
    forms = [{each: _form(column) for each, column in found.items()} for found in (model, columns)]
    if forms[0] != forms[1]:
        told = [", ".join(f"{each or 'one tensor'}: {form}" for each, form in found.items()) for found in forms]
        raise PolytaskError(
            f"the data sets of a mixture need inputs of one form; '{first}' has rows of {told[0]}, '{name}' of "
            f"{told[1]}: bring them to the same names, types and shapes (tables: prepare them with one preprocessing)"
        )


def _same_use(first: str, model: TensorData, name: str, data: TensorData) -> None:
    """What becomes of the inputs of two parts is alike."""
    for what in ("transform", "augment"):
        if getattr(model, what) != getattr(data, what):
            raise PolytaskError(
                f"the data sets of a mixture need one `{what}`; '{first}' has {getattr(model, what)!r}, '{name}' "
                f"has {getattr(data, what)!r}: give all of them the same"
            )


def _target(task: str, parts: Mapping[str, TensorData]) -> Tensor:
    """The labels of a task in all parts, missing in those that lack it."""
    found = {name: data.targets[task] for name, data in parts.items() if task in data.targets}
    first, like = next(iter(found.items()))
    kind = like.dtype
    for name, target in found.items():
        if target.shape[1:] != like.shape[1:] or target.is_floating_point() != like.is_floating_point():
            raise PolytaskError(
                f"the targets of task '{task}' differ between the data sets of a mixture: rows of {_form(like)} in "
                f"'{first}', of {_form(target)} in '{name}'; bring them to one form, or give the two tasks names of "
                "their own"
            )
        kind = torch.promote_types(kind, target.dtype)
    mark, marked = missing(torch.empty(0, dtype=kind))
    kind = marked if len(found) < len(parts) else kind
    none = torch.full((1, *like.shape[1:]), mark, dtype=kind)
    return torch.cat([
        found[name].to(kind) if name in found else none.expand(len(data), *like.shape[1:])
        for name, data in parts.items()
    ])  # fmt: skip


def _form(column: Tensor) -> str:
    return f"{str(column.dtype).removeprefix('torch.')} {list(column.shape[1:])}"
