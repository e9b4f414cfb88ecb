"""Checkpoints: tensors in safetensors, everything else as JSON in the same file; loading one runs no code."""

import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from polytask.errors import PolytaskError

_TENSOR = "__tensor__"
_PAIRS = "__pairs__"


def save_tree(tree: Any, path: Path) -> None:
    """Write nested dicts and lists of tensors, numbers and strings to one file, whole or not at all.

    Raises:
        PolytaskError: when the disk is full or can't be written; an earlier file of that name stays as it was.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_without_tensors(tree, tensors))
    write_whole(path, save(tensors, metadata={"tree": text}))


def load_tree(path: Path) -> Any:
    """Read what `save_tree` wrote.

    Raises:
        PolytaskError: when the file is missing, cut short or not a checkpoint.
    """
    if not path.is_file():
        raise PolytaskError(f"there is no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            text = (file.metadata() or {})["tree"]
    except (SafetensorError, KeyError) as error:
        raise PolytaskError(
            f"{path} is not a whole checkpoint of polytask ({error}): it was cut short or changed; delete it to "
            "begin this run anew, or copy it again"
        ) from error
    return _with_tensors(json.loads(text), tensors)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new one, never a part.

    Raises:
        PolytaskError: when the disk is full or can't be written; the old content stays.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(fresh, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        with suppress(OSError):  # (say, a file where a folder should be)
            fresh.unlink(missing_ok=True)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "the disk is full" if full else str(error)
        raise PolytaskError(
            f"can't write {path} ({len(content) / 2**20:.1f} MiB): {what}; what was saved before is untouched: make "
            "room and start the same command again to go on from there"
        ) from error


def load_state(model: nn.Module, state: Mapping[str, Tensor], path: Path | str) -> None:
    """Load weights into a model, or say how the two differ.

    Raises:
        PolytaskError: when the weights are of another model; the model is untouched.
    """
    own = model.state_dict()
    problems = [f"lacks {name}" for name in own if name not in state]
    problems += [f"has {name}, which the model has not" for name in state if name not in own]
    problems += [
        f"has {name} of shape {list(state[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if problems:
        more = f" (and {len(problems) - 3} differences more)" if len(problems) > 3 else ""
        raise PolytaskError(f"{path} is a checkpoint of another model: it {'; it '.join(problems[:3])}{more}")
    model.load_state_dict(state)


def _without_tensors(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        name = str(len(tensors))
        tensors[name] = tree.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(tree, Mapping):
        if all(isinstance(key, str) for key in tree) and not {_TENSOR, _PAIRS} & tree.keys():
            return {key: _without_tensors(each, tensors) for key, each in tree.items()}
        return {_PAIRS: [[key, _without_tensors(each, tensors)] for key, each in tree.items()]}
    if isinstance(tree, list | tuple):
        return [_without_tensors(each, tensors) for each in tree]
    return tree


def _with_tensors(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_with_tensors(each, tensors) for each in tree]
    if not isinstance(tree, dict):
        return tree
    if _TENSOR in tree:
        return tensors[tree[_TENSOR]]
    if _PAIRS in tree:
        pairs = ((tuple(key) if isinstance(key, list) else key, each) for key, each in tree[_PAIRS])
        return {key: _with_tensors(each, tensors) for key, each in pairs}
    return {key: _with_tensors(each, tensors) for key, each in tree.items()}


def random_state() -> dict[str, Tensor]:
    """The state of torch's global random generators on this process."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Tensor]) -> None:
    """Go back to a state of the random generators."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
