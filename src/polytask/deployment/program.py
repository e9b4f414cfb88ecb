"""A network as a `torch.export` program: for all tasks, or for some with nothing that only the others need."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from polytask.errors import PolytaskError
from polytask.sharing import MultiTaskModel


def export_program(
    model: MultiTaskModel, example: Any, path: Path | str, tasks: Iterable[str] | None = None, decoded: bool = False
) -> Path:
    """Write the network, in evaluation mode, as a program of `torch.export` (`torch.export.load(path).module()`).

    Called with the inputs, the program gives a tuple: the prediction of each task, in the order of `model.tasks`. The
    batch may have any size; all else has the shape of the example.

    Args:
        model: left as it is.
        example: inputs of at least two samples: a tensor, or tensors by name.
        path: ends in .pt2.
        tasks: those to predict, all by default; what only other tasks need is left out of the file.
        decoded: predictions as people read them (`Task.decode`: probabilities, metres), not as the network gives them.

    Returns:
        The path.

    Raises:
        PolytaskError: there is no such task, the path has another ending or can't be written, the example has one
            sample only, or the network does something that can't be exported (the message says what).

    Cost: a few forward passes.

    >>> import tempfile
    >>> from polytask import sharing, tasks
    >>> model = sharing.HardSharing(sharing.MLP(4), [tasks.Binary("a"), tasks.MultiClass("b", 3)])
    >>> path = export_program(model, torch.zeros(2, 4), Path(tempfile.mkdtemp()) / "b.pt2", tasks=["b"])
    >>> [tuple(each.shape) for each in torch.export.load(path).module()(torch.zeros(5, 4))]
    [(5, 3)]
    """
    target = _target(path, ".pt2")
    program = exported(model, example, tasks, decoded)
    with writing(target):
        torch.export.save(program, target)
    return target


def exported(
    model: MultiTaskModel, example: Any, tasks: Iterable[str] | None = None, decoded: bool = False
) -> ExportedProgram:
    """The program, not written yet; see `export_program`."""
    if not isinstance(model, MultiTaskModel):
        raise PolytaskError(
            f"expected a sharing.MultiTaskModel to export, got {type(model).__name__}; other modules are exported by "
            "torch.export.export itself"
        )
    names = model.asked(tasks)
    if len(next(iter(columns(example).values()))) < 2:
        raise PolytaskError("give an example of at least two samples: of one, the batch size would become a constant")
    chosen = Chosen(copy.deepcopy(model), names, decoded).eval()
    for each in chosen.parameters():
        each.requires_grad_(False)
    program = _traced(chosen, example)
    _leave_out(chosen, program)
    return _traced(chosen, example)


class Chosen(nn.Module):
    """A network that gives the predictions of some tasks as a tuple.

    Args:
        model: the network.
        names: of the tasks, in the order of its tasks.
        decoded: see `export_program`.
    """

    def __init__(self, model: MultiTaskModel, names: Iterable[str], decoded: bool) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)
        self.decoded = decoded

    def forward(self, inputs: Any) -> tuple[Tensor, ...]:
        found = self.model(inputs, self.names)
        by_name = {task.name: task for task in self.model.tasks}
        return tuple(by_name[name].decode(found[name]) if self.decoded else found[name] for name in self.names)


def columns(inputs: Any) -> Mapping[str, Tensor]:
    """Inputs by name; one tensor is called "inputs"."""
    return inputs if isinstance(inputs, Mapping) else {"inputs": inputs}


def _traced(chosen: Chosen, example: Any) -> ExportedProgram:
    batch = {0: Dim("batch", min=1)}
    shapes = dict.fromkeys(example, batch) if isinstance(example, Mapping) else batch
    try:
        with torch.no_grad():
            return torch.export.export(chosen, (example,), dynamic_shapes=(shapes,))
    except PolytaskError:
        raise
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PolytaskError(
            f"{type(chosen.model).__name__} can't be exported for {', '.join(chosen.names)}: {type(error).__name__}: "
            f"{first}; look for steps that depend on the values of tensors, or on the batch size, in the backbone and "
            "the heads"
        ) from error


def _leave_out(chosen: Chosen, program: ExportedProgram) -> None:
    """Take from the network what the program does not use, so that it is in no file."""
    signature = program.graph_signature
    kept = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    used = {
        kept[node.name] for node in program.graph.nodes if node.op == "placeholder" and node.users and node.name in kept
    }
    for prefix, module in chosen.named_modules():
        for slots in (module._parameters, module._buffers):
            for name in slots:
                if f"{prefix}.{name}".lstrip(".") not in used:
                    slots[name] = None


def _target(path: Path | str, ending: str) -> Path:
    target = Path(path)
    if target.suffix != ending:
        raise PolytaskError(f"expected a file name that ends in {ending}, got {target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PolytaskError(f"can't make the folder {target.parent}: {error}") from error
    if target.is_dir():
        raise PolytaskError(f"{target} is a folder; give the name of a file in it")
    return target


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """What is done inside writes a file; an error that names it where that fails."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError
        first = str(error).splitlines()[0]
        raise PolytaskError(f"can't write {target}: {first}; look at its permissions and the space there") from error
