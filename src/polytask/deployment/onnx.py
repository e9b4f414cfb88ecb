"""A network as an ONNX file."""

import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import polytask
from polytask.deployment.program import Chosen, _target, columns, exported, writing
from polytask.errors import PolytaskError
from polytask.sharing import MultiTaskModel

TOLERANCE = 1e-4
"""The file may differ from torch by this much, relative to the largest number that a task gives (at least 1)."""


def export_onnx(
    model: MultiTaskModel, example: Any, path: Path | str, tasks: Iterable[str] | None = None, decoded: bool = False
) -> Path:
    """Write the network, in evaluation mode, as an ONNX file; run it in onnxruntime and compare with torch.

    Inputs have the names of the example's ("inputs" for one tensor), outputs those of the tasks. The batch may have any
    size; all else has the shape of the example. The file's metadata hold what the tasks are (`polytask_tasks`, JSON).

    Args:
        model, example, tasks, decoded: as in `export_program`.
        path: ends in .onnx.

    Returns:
        The path.

    Raises:
        PolytaskError: as `export_program`; onnx, onnxscript or onnxruntime is not installed; ONNX lacks an operation;
            or onnxruntime gives something else than torch (more than 1e-4, relative to the largest number of the
            task): then there is no file.

    Needs `polytask[onnx]`. Cost: some seconds; a file with more than 2 GiB of weights keeps them in a second file.
    """
    target = _target(path, ".onnx")
    _runtime()
    program = exported(model, example, tasks, decoded)
    names = model.asked(tasks)
    try:
        with _quiet():
            made = torch.onnx.export(
                program, dynamo=True, input_names=list(columns(example)), output_names=list(names), verbose=False
            )
    except Exception as error:
        raise PolytaskError(
            f"{type(model).__name__} can't be written as ONNX: {type(error).__name__}: {str(error).splitlines()[0]}; "
            "export_program writes it as a torch program"
        ) from error
    assert made is not None
    told = {task.name: task.describe() for task in model.tasks if task.name in names}
    made.model.metadata_props.update(polytask_tasks=json.dumps(told), polytask_version=polytask.__version__)
    with writing(target):
        made.save(target)
    try:
        _compare(model, example, target, names, decoded)
    except PolytaskError:
        target.unlink()
        raise
    return target


def run_onnx(path: Path | str, inputs: Any) -> dict[str, Tensor]:
    """The predictions of an ONNX file in onnxruntime, by task.

    Raises:
        PolytaskError: onnxruntime is not installed, or the file is not ONNX.
    """
    runtime = _runtime()
    try:
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise PolytaskError(f"onnxruntime can't read {path}: {str(error).splitlines()[0]}") from error
    fed = {name: each.detach().cpu().numpy() for name, each in columns(inputs).items()}
    found = session.run(None, fed)
    return {each.name: torch.from_numpy(value) for each, value in zip(session.get_outputs(), found, strict=True)}


def _compare(model: MultiTaskModel, example: Any, path: Path, names: list[str], decoded: bool) -> None:
    """On a batch of another size, so that a batch size that became a constant is found."""
    larger = {name: torch.cat([each, each[:1]]) for name, each in columns(example).items()}
    inputs = larger if isinstance(example, Mapping) else larger["inputs"]
    was_training = model.training
    try:
        with torch.no_grad():
            wanted = dict(zip(names, Chosen(model.eval(), names, decoded)(inputs), strict=True))
    finally:
        model.train(was_training)
    found = run_onnx(path, inputs)
    for name, prediction in wanted.items():
        off = (found[name].double() - prediction.double().cpu()).abs().max().item()
        allowed = TOLERANCE * max(1.0, prediction.abs().max().item())
        if not off <= allowed:
            raise PolytaskError(
                f"onnxruntime gives task '{name}' up to {off:.2g} away from torch, where {allowed:.2g} is allowed; "
                "export_program writes the network as a torch program"
            )


def _runtime() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise PolytaskError(f"ONNX files need {error.name}: pip install 'polytask[onnx]'") from error
    return onnxruntime


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on libraries that are not there."""
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        noisy.setLevel(level)
