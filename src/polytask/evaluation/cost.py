"""What a forward pass costs: multiply-adds, memory, time."""

import statistics
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from polytask.errors import PolytaskError


@dataclass(frozen=True)
class ForwardCost:
    """The cost of one forward pass, in evaluation mode and without a graph.

    Args:
        parameters: of the modules that ran, each once.
        multiply_adds: of matrix products, convolutions and attention, per sample. Element-wise operations (norms,
            activations, resizing) are not counted, as is the custom.
        memory_mib: the most that intermediate results take at one time, without inputs and parameters, for the whole
            batch.
    """

    parameters: int
    multiply_adds: int
    memory_mib: float


def forward_cost(model: nn.Module, inputs: Any, *args: Any) -> ForwardCost:
    """Count what `model(inputs, *args)` costs; the same numbers on every machine.

    Args:
        model: left in the mode that it was in.
        inputs: one batch, a tensor or tensors by name; the first axis is the sample.
        args: further arguments of the model, say the names of the tasks.

    Raises:
        PolytaskError: there is no sample.

    Operations are counted by torch's own `FlopCounterMode` (two floating-point operations are one multiply-add).

    >>> forward_cost(nn.Linear(8, 4), torch.zeros(2, 8))
    ForwardCost(parameters=36, multiply_adds=32, memory_mib=3.0...e-05)
    """
    rows = next((len(each) for each in tree_leaves(inputs) if isinstance(each, Tensor)), 0)
    if not rows:
        raise PolytaskError("the cost of a forward pass is counted on at least one sample; the inputs hold none")
    ran: set[nn.Module] = set()
    hooks = [each.register_forward_pre_hook(lambda module, args: ran.add(module)) for each in model.modules()]
    live, operations = _Live(), FlopCounterMode(display=False)
    try:
        with _judged(model), live:
            model(inputs, *args)
        with _judged(model), operations:
            model(inputs, *args)
    finally:
        for hook in hooks:
            hook.remove()
    own = {id(p): p.numel() for module in ran for p in module.parameters(recurse=False)}
    return ForwardCost(sum(own.values()), round(operations.get_total_flops() / 2 / rows), live.most / 2**20)


def latencies(calls: Mapping[str, Callable[[], Any]], rounds: int = 15) -> dict[str, float]:
    """Median seconds of each call, without graph; the calls take turns, in an order that is reversed every round, so
    that whatever else the machine does meets them all.

    Args:
        calls: by name; each is called twice before it counts.
        rounds: how often each counts.

    >>> sorted(latencies({"a": lambda: None, "b": lambda: None}, rounds=3))
    ['a', 'b']
    """
    seen: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    with torch.no_grad():
        for turn in range(rounds + 2):
            for name in order if turn % 2 else reversed(order):
                begun = time.perf_counter()
                calls[name]()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                if turn > 1:
                    seen[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in seen.items()}


@contextmanager
def _judged(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no graph; every module's mode as before afterwards.

    Nothing is trainable meanwhile: the counter of operations watches whatever wants a gradient, and stumbles over views
    of parameters, which have no graph here.
    """
    modes = {module: module.training for module in model.modules()}
    trainable = [each for each in model.parameters() if each.requires_grad]
    model.eval().requires_grad_(False)
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for each in trainable:
            each.requires_grad_()


class _Live(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, for as long as they are held."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {each.untyped_storage()._cdata for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, Tensor) and each.untyped_storage()._cdata not in given:
                self._hold(each.untyped_storage())
        return made

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._release, key, storage.nbytes())

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
