"""Stop a network whose forward we do not own after each of its stages, and go on with another tensor.

A stage is left after the last module inside it through whose one output everything above depends on what is below:
in Swin that is the last block before the patches are merged. Then the network runs once for every stage, up to that
module; what is done already does not run again but gives what it gave, the tensor that was sent among it. Where
each stage is left is seen in the graph of one pass over an example.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from polytask.errors import PolytaskError
from polytask.sharing.backbones._observe import Call, done_by, observe
from polytask.sharing.backbones._replay import Forward, Reached, replaying, stopping

Outputs = dict[str, list[Any]]


class Exit(NamedTuple):
    """Where a stage is left: after the module `at`, which gives `width` channels; by then `done` are done."""

    at: str
    done: tuple[str, ...]
    width: int
    channels_last: bool


class _Gave(NamedTuple):
    """What a module gave while a pass was observed: one tensor, its place in the graph, and its version then."""

    name: str
    tensor: Tensor
    node: Any
    version: int


def exits(
    net: nn.Module,
    stages: int,
    names: Sequence[str] | None,
    example: Tensor,
    forward: Forward,
    seen: Sequence[str] = (),
) -> tuple[Exit, ...]:
    """Where each of the stages is left.

    Args:
        net: the network.
        stages: how many it has.
        names: of the modules that are its stages, where there are such.
        example: an input.
        forward: runs the network: (net, inputs) -> features.
        seen: modules that have to be called whenever the network runs, since `forward` looks at them.

    Raises:
        PolytaskError: a stage can't be left: more than one tensor goes up from it.
    """
    example = example.detach().requires_grad_()
    gave: list[_Gave] = []
    calls, features = observe(net, lambda: forward(net, example), lambda name, output: gave.extend(_one(name, output)))
    once = _once(calls, seen)
    possible = [each for each in reversed(gave) if each.name in once and not _passes(net, each, gave)]
    found = []
    for k in range(stages):
        inside = f"{names[k]}." if names else ""
        within = (each for each in possible if f"{each.name}.".startswith(inside))
        last = next((each for each in within if _is_exit(each, features[k:], example)), None)
        if last is None:
            raise PolytaskError(f"more than one tensor goes up from its stage {k}{f' ({names[k]})' if names else ''}")
        channels_last = last.tensor.ndim == 4 and last.tensor.shape[2:] != features[k].shape[2:]
        width = last.tensor.shape[1] if last.tensor.ndim == 4 and not channels_last else last.tensor.shape[-1]
        found.append(Exit(last.name, tuple(done_by(calls, last.name, seen=seen)), width, channels_last))
    return tuple(found)


def walk(
    net: nn.Module, stages: Iterable[Exit], inputs: Any, forward: Forward
) -> Generator[Tensor, Tensor, list[Tensor]]:
    """`Backbone.walk` of a network that is left at these places."""
    outputs: Outputs = {}
    for stage in stages:
        outputs = _run_to(net, stage, inputs, outputs, forward)
        (left,) = outputs[stage.at]
        (came,) = _tensors(left)
        sent = yield came.movedim(-1, 1) if stage.channels_last else came
        sent = sent.movedim(1, -1) if stage.channels_last else sent
        outputs[stage.at] = [tree_map(lambda each, sent=sent: sent if isinstance(each, Tensor) else each, left)]
    with replaying(net, outputs):
        return forward(net, inputs)


def _run_to(net: nn.Module, stage: Exit, inputs: Any, outputs: Outputs, forward: Forward) -> Outputs:
    """What the modules that are done when the stage is left gave, some of them before."""
    new: Outputs = {name: [] for name in stage.done if name not in outputs}
    handles = [
        net.get_submodule(name).register_forward_hook(lambda module, args, output, gave=gave: gave.append(output))
        for name, gave in new.items()
    ]
    handles.append(net.get_submodule(stage.at).register_forward_hook(_stop))
    try:
        with stopping(), replaying(net, outputs):
            forward(net, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return {name: new[name] if name in new else outputs[name] for name in stage.done}


def _stop(module: nn.Module, args: Any, output: Any) -> None:
    raise Reached


def _tensors(output: Any) -> list[Tensor]:
    """The different tensors among an output."""
    return list({id(each): each for each in tree_leaves(output) if isinstance(each, Tensor)}.values())


def _one(name: str, output: Any) -> list[_Gave]:
    tensors = _tensors(output)
    if len(tensors) != 1 or tensors[0].grad_fn is None:
        return []
    return [_Gave(name, tensors[0], tensors[0].grad_fn, tensors[0]._version)]


def _once(calls: Sequence[Call], seen: Sequence[str]) -> set[str]:
    """The modules that are called once, without those around one that has to be seen."""
    counts = Counter(call.name for call in calls if call.done)
    around = {".".join(name.split(".")[:k]) for name in seen for k in range(name.count(".") + 1)}
    return {name for name, count in counts.items() if count == 1} - around


def _passes(net: nn.Module, given: _Gave, gave: Sequence[_Gave]) -> bool:
    """Whether it is a layer that gave what another module had given, as dropout does in evaluation."""
    first = next(each for each in gave if each.node is given.node)
    return first is not given and not any(net.get_submodule(given.name).children())


def _is_exit(given: _Gave, features: list[Tensor], example: Tensor) -> bool:
    """Whether what these features, lowest first, have from below goes through this output, as it was given."""
    own, came = features[0], given.tensor
    if came._version != given.version:
        return False  # changed in place later
    if came.ndim == 4 and own.shape[2:] not in (came.shape[2:], came.shape[1:3]):
        return False  # a map of another size: not yet, or no longer, what the feature is made of
    above = _below([each.grad_fn for each in features], without=given.node)
    below = _below([node for node, _ in given.node.next_functions])
    from_inputs = any(getattr(node, "variable", None) is example for node in below)
    return from_inputs and given.node in above and not below & above


def _below(nodes: Iterable[Any], without: Any = None) -> set[Any]:
    """The nodes of the graph from these down, and `without` itself but nothing that is reached through it alone."""
    found: set[Any] = set()
    left = list(nodes)
    while left:
        node = left.pop()
        if node is None or node in found:
            continue
        found.add(node)
        if node is not without:
            left.extend(below for below, _ in node.next_functions)
    return found
