"""What is seen of a network in one pass over an example: which module is done when, and what depends on what."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Call(NamedTuple):
    """One module started (`done` is False) or was done."""

    name: str
    done: bool


def observe(
    net: nn.Module, run: Callable[[], list[Tensor]], see: Callable[[str, Any], None] | None = None
) -> tuple[list[Call], list[Tensor]]:
    """The calls of modules during `run()`, in order, and its result with the graph; in evaluation mode.

    Args:
        net: the network.
        run: runs it.
        see: is shown the name and the output of every module that is done.
    """
    calls: list[Call] = []
    modes = {module: module.training for module in net.modules()}
    handles = []
    for name, module in net.named_modules():
        start, end = Call(name, False), Call(name, True)
        handles.append(module.register_forward_pre_hook(lambda m, a, start=start: calls.append(start)))
        handles.append(module.register_forward_hook(lambda m, a, o, end=end: calls.append(end)))
        if see is not None:
            handles.append(module.register_forward_hook(lambda m, a, output, name=name: see(name, output)))
    try:
        net.eval()
        with torch.inference_mode(False), torch.enable_grad():
            return calls, run()
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode


def stage_names(net: nn.Module, stages: int, calls: Sequence[Call]) -> list[str] | None:
    """The names of the stages: the outermost list of so many modules that run once each, in order."""
    started = [call.name for call in calls if not call.done]
    for prefix, module in net.named_modules():
        names = [f"{prefix}.{k}" for k in range(stages)]
        listed = isinstance(module, nn.ModuleList) and len(module) == stages
        if listed and [name for name in started if name in names] == names:
            return names
    return None


def next_started(calls: Sequence[Call], after: str) -> str:
    """The first module that starts once another one is done."""
    done = calls.index(Call(after, True))
    return next(call.name for call in calls[done:] if not call.done)


def done_by(calls: Sequence[Call], at: str, started: bool = False, seen: Sequence[str] = ()) -> list[str]:
    """Modules done by the time `at` is done (or has `started`), in order, without those called inside another one of
    them. A module around one that has to be `seen` is never done: its parts are."""
    open_at: list[int] = []
    done: list[str] = []
    for call in calls:
        if not call.done:
            if started and call.name == at:
                break
            open_at.append(len(done))
            continue
        first = open_at.pop()
        if not any(name.startswith(f"{call.name}.") for name in seen):
            done[first:] = [call.name]
        if call.name == at:
            break
    return done


def reached(tensors: Iterable[Tensor]) -> set[int]:
    """The ids of the leaves that the tensors depend on, found in the graph."""
    leaves: set[int] = set()
    seen: set[Any] = set()
    nodes: list[Any] = []
    for tensor in tensors:
        if tensor.grad_fn is not None:
            nodes.append(tensor.grad_fn)
        elif tensor.requires_grad:
            leaves.add(id(tensor))
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.add(id(node.variable))
        nodes.extend(below for below, _ in node.next_functions)
    return leaves


def unused(net: nn.Module, features: Iterable[Tensor]) -> set[str]:
    """The names of what can be trained but does not take part in the features."""
    needed = reached(features)
    return {name for name, each in net.named_parameters() if each.requires_grad and id(each) not in needed}


def freeze_unused(net: nn.Module, features: Iterable[Tensor]) -> None:
    """Make constants of the parameters that the features do not depend on."""
    drop(net, reached(features), {name for name, _ in net.named_modules()})


def drop(net: nn.Module, needed: set[int], ran: set[str]) -> None:
    """Make constants of parameters not needed; where the module does not even run, empty ones."""
    # A module of which a part runs counts as run: not all are called by their forward.
    ran = {".".join(name.split(".")[:k]) for name in ran for k in range(1, name.count(".") + 2)} | {""}
    for prefix, module in net.named_modules():
        for name, parameter in list(module._parameters.items()):
            frozen = parameter is not None and not parameter.requires_grad and prefix in ran
            if parameter is None or id(parameter) in needed or frozen:  # what is frozen may matter all the same
                continue
            del module._parameters[name]
            value = parameter.detach()
            module.register_buffer(name, value if prefix in ran else value.new_empty(0), persistent=False)
        if prefix not in ran:
            if hasattr(module, "track_running_stats"):
                module.track_running_stats = False  # else loading a plain state dict looks for a step counter
            for name, buffer in list(module._buffers.items()):
                if buffer is not None:
                    module.register_buffer(name, buffer.new_empty(0), persistent=False)
