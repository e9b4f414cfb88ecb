"""Which stage of its trunk every weight of a model belongs to."""

from collections.abc import Iterable, Iterator
from itertools import chain

from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing._per_task import PerTask
from polytask.sharing.backbone import Backbone


def stages_of(model: nn.Module) -> dict[str, int]:
    """The stage of the trunk that each parameter and buffer belongs to, 0 the lowest, by its name in the model.

    A model with a network per task has as many trunks, whose stages are counted alike. What lies above or beside the
    trunks (heads, decoders, units where networks meet) is not named. A trunk that can't be cut between its stages is
    one stage; where a network of a library is split (`HardSharing(shared_stages=...)`), what lies below the cut is one
    stage and what lies above it another.

    >>> from polytask import sharing, tasks
    >>> model = sharing.HardSharing(sharing.MLP(4, widths=(8, 8)), [tasks.Binary("a")])
    >>> stages_of(model)["shared.stages.1.linear.weight"], "heads.a.weight" in stages_of(model)
    (1, False)
    """
    found: dict[int, int] = {}
    for stage, part in _parts(model):
        for each in (*part.parameters(), *part.buffers()):
            found.setdefault(id(each), stage)
    return {name: found[id(each)] for name, each in named(model) if id(each) in found}


def named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by all of their names."""
    return chain(module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))


def trunks(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, Backbone]]:
    """The whole backbones in a model, by the beginning of the names of their weights."""
    if isinstance(model, Backbone):
        yield prefix, model
        return
    for name, child in model.named_children():
        yield from trunks(child, f"{prefix}{name}.")


def halves(model: nn.Module) -> Iterator[tuple[str, nn.Module, int]]:
    """The parts of a trunk that is split between shared stages and those of the tasks: names, module, first stage."""
    lower, branches = getattr(model, "shared", None), getattr(model, "branches", None)
    if isinstance(lower, Backbone) or not isinstance(lower, nn.Module) or not isinstance(branches, PerTask):
        return
    if not any(True for _ in lower.parameters()):  # nothing is shared: the branches are whole
        return
    yield "shared.", lower, 0
    for name, branch in branches.items():
        yield f"branches.{name}.", branch, len(_listed(lower))


def _parts(model: nn.Module) -> Iterator[tuple[int, nn.Module]]:
    """Modules and the stage that what is in them belongs to, unless it was in one before."""
    for _, trunk in trunks(model):
        yield from enumerate(_cut(trunk))
    for _, part, first in halves(model):
        yield from enumerate(_listed(part), first)


def _cut(trunk: Backbone) -> Iterable[nn.Module]:
    """What lies below every cut of a trunk; the trunk itself at last."""
    try:
        return [trunk.split(stage)[0] for stage in range(1, len(trunk.widths) + 1)]
    except PolytaskError:
        return [trunk]


def _listed(part: nn.Module) -> list[nn.Module]:
    """The stages in a part of a trunk, or the part as one."""
    stages = getattr(part, "stages", None)
    return list(stages) if isinstance(stages, nn.ModuleList) else [part]
