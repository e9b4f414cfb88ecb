"""Cut a network whose forward we do not own: run it up to a module, go on elsewhere with replayed outputs.

The lower part runs the network until the module at the cut is reached, and records what every module that was
done by then gave. The upper part runs the same network, in which these modules do not run but give what was
recorded: the code between the modules, whatever it is, runs in both. Which module is done when, and which
parameters and recorded tensors matter, is seen in one pass over an example.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from polytask.errors import PolytaskError
from polytask.sharing.backbone import State

Forward = Callable[[nn.Module, Any], list[Tensor]]


class Call(NamedTuple):
    """One module started (`done` is False) or was done."""

    name: str
    done: bool


class Reached(Exception):
    """The module was reached where a run shall stop."""


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


def split(
    net: nn.Module,
    at: str,
    calls: Sequence[Call],
    example: Tensor,
    reads: Sequence[int],
    forward: Forward,
    seen: Sequence[str] = (),
) -> tuple["Lower", "Upper"]:
    """Cut `net` where the module `at` starts; both parts share the parameters of `net`, none are copied.

    Args:
        net: the network.
        at: the name of the first module above the cut.
        calls: what `observe` saw.
        example: an input.
        reads: which features of the result will be read.
        forward: runs the network: (net, inputs) -> features.
        seen: modules that have to be called in both parts, since `forward` looks at them.
    """
    done = done_by(calls, at, started=True, seen=seen)
    lower, upper = Lower(_twin(net), at, done, forward), Upper(_twin(net), forward)
    state: State = State([])

    def run_lower() -> list[Tensor]:
        nonlocal state
        state = lower(example)
        return [each for each in state.rest.leaves if isinstance(each, Tensor)]

    calls_below, _ = observe(lower.net, run_lower)
    recorded = state.rest
    leaves = [_leaf(each) for each in recorded.leaves]  # as leaves, to see below which of them matter
    free = State([], recorded._replace(leaves=leaves))
    calls_above, features = observe(upper.net, lambda: upper(free))
    crossing = _reached([features[k] for k in reads])
    lower.cut = tuple(k for k, each in enumerate(leaves) if id(each) in crossing)
    _drop(lower.net, _reached([recorded.leaves[k] for k in lower.cut]), {call.name for call in calls_below})
    replayed = set(done)
    _drop(upper.net, crossing, {call.name for call in calls_above if call.name not in replayed})
    _, whole = observe(net, lambda: forward(net, example))
    _, joined = observe(nn.ModuleList([lower, upper]), lambda: upper(lower(example)))
    if not all(map(torch.allclose, joined, whole)):
        raise PolytaskError("the parts give something else than the whole")
    return lower, upper


class Recorded(NamedTuple):
    """What the lower part saw: its inputs, and the outputs of the modules that were done by then, flat."""

    inputs: Tensor
    names: list[str]
    leaves: list[Any]
    structure: Any
    cut: tuple[int, ...]


class Lower(nn.Module):
    """Runs `net` until the module `at` starts, and gives the outputs of the modules `done` by then."""

    def __init__(self, net: nn.Module, at: str, done: Sequence[str], forward: Forward) -> None:
        super().__init__()
        self.net = net
        self.at = at
        self.done = tuple(done)
        self.cut: tuple[int, ...] = ()
        self._forward = forward

    def forward(self, inputs: Tensor) -> State:
        names: list[str] = []
        outputs: list[Any] = []

        def record(name: str, output: Any) -> None:
            names.append(name)
            outputs.append(output)

        handles = [self.net.get_submodule(self.at).register_forward_pre_hook(_stop)]
        for name in dict.fromkeys(self.done):
            module = self.net.get_submodule(name)
            handles.append(module.register_forward_hook(lambda m, a, output, name=name: record(name, output)))
        try:
            self._forward(self.net, inputs)
        except Reached:
            pass
        finally:
            for handle in handles:
                handle.remove()
        leaves, structure = tree_flatten(outputs)
        return State([leaves[k] for k in self.cut], Recorded(inputs, names, leaves, structure, self.cut))


class Upper(nn.Module):
    """Runs `net` with the recorded outputs in place of the modules that gave them."""

    def __init__(self, net: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.net = net
        self._forward = forward

    def forward(self, state: State) -> list[Tensor]:
        recorded: Recorded = state.rest
        leaves = list(recorded.leaves)
        for k, tensor in zip(recorded.cut, state.cut, strict=True):
            leaves[k] = tensor
        outputs: dict[str, list[Any]] = {}
        for name, output in zip(recorded.names, tree_unflatten(leaves, recorded.structure), strict=True):
            outputs.setdefault(name, []).append(output)
        with replaying(self.net, outputs):
            return self._forward(self.net, recorded.inputs)


@contextmanager
def replaying(net: nn.Module, outputs: dict[str, list[Any]]) -> Iterator[None]:
    """The modules named give these outputs, one per call, then run themselves, which adds to the outputs."""
    modules = {name: net.get_submodule(name) for name in outputs}
    for name, module in modules.items():
        # An attribute of the object goes before the method of its class; hooks on the module run as ever.
        vars(module)["forward"] = _Replay(module, outputs[name])
    try:
        yield
    finally:
        for module in modules.values():
            del vars(module)["forward"]


class _Replay:
    def __init__(self, module: nn.Module, outputs: list[Any]) -> None:
        self.module = module
        self.outputs = outputs
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls > len(self.outputs):
            self.outputs.append(type(self.module).forward(self.module, *args, **kwargs))
        return self.outputs[self.calls - 1]


def _stop(module: nn.Module, args: Any) -> None:
    raise Reached


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


def _twin(net: nn.Module) -> nn.Module:
    """A copy of the network that shares its parameters and buffers."""
    memo: dict[int, Any] = {id(each): each for each in [*net.parameters(), *net.buffers()]}
    return copy.deepcopy(net, memo)


def _leaf(value: Any) -> Any:
    return value.detach().requires_grad_() if isinstance(value, Tensor) and value.requires_grad else value


def _reached(tensors: Iterable[Tensor]) -> set[int]:
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
    needed = _reached(features)
    return {name for name, each in net.named_parameters() if each.requires_grad and id(each) not in needed}


def freeze_unused(net: nn.Module, features: Iterable[Tensor]) -> None:
    """Make constants of the parameters that the features do not depend on."""
    _drop(net, _reached(features), {name for name, _ in net.named_modules()})


def _drop(net: nn.Module, needed: set[int], ran: set[str]) -> None:
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
