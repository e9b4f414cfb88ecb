"""Cut a network whose forward we do not own: run it up to a module, go on elsewhere with replayed outputs.

The lower part runs the network until the module at the cut is reached, and records what every module that was
done by then gave. The upper part runs the same network, in which these modules do not run but give what was
recorded: the code between the modules, whatever it is, runs in both. Which module is done when, and which
parameters and recorded tensors matter, is seen in one pass over an example.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from polytask.errors import PolytaskError
from polytask.sharing.backbone import State
from polytask.sharing.backbones._observe import Call, done_by, drop, observe, reached

Forward = Callable[[nn.Module, Any], list[Tensor]]


class Reached(Exception):
    """The module was reached where a run shall stop."""


@contextmanager
def stopping(at: type[Exception] = Reached) -> Iterator[None]:
    """A run that is left by an exception of this kind."""
    inside = _modules_of_export()
    before = len(inside)
    try:
        yield
    except at:
        while len(inside) > before:
            inside.popitem()


def _modules_of_export() -> dict[str, Any]:
    """The modules that torch.export is in now, which it does not strike out when an exception leaves them."""
    if not torch.compiler.is_exporting():
        return {}
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    mode = get_proxy_mode()
    return {} if mode is None else mode.tracer.module_stack


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
    crossing = reached([features[k] for k in reads])
    lower.cut = tuple(k for k, each in enumerate(leaves) if id(each) in crossing)
    drop(lower.net, reached([recorded.leaves[k] for k in lower.cut]), {call.name for call in calls_below})
    replayed = set(done)
    drop(upper.net, crossing, {call.name for call in calls_above if call.name not in replayed})
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
            with stopping():
                self._forward(self.net, inputs)
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


def _twin(net: nn.Module) -> nn.Module:
    """A copy of the network that shares its parameters and buffers."""
    memo: dict[int, Any] = {id(each): each for each in [*net.parameters(), *net.buffers()]}
    return copy.deepcopy(net, memo)


def _leaf(value: Any) -> Any:
    return value.detach().requires_grad_() if isinstance(value, Tensor) and value.requires_grad else value
