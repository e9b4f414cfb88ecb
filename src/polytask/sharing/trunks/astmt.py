"""One network that works for one task at a time, and adapts to it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing._maps import check_map
from polytask.sharing._per_task import PerTask, readable
from polytask.sharing.backbone import Backbone, build
from polytask.sharing.heads import Decoder, apply_head, image_size, pool, reads, resize
from polytask.sharing.heads.making import decoder_for
from polytask.sharing.model import MultiTaskModel
from polytask.sharing.trunks._discriminator import GradientDiscriminator
from polytask.sharing.trunks._modulation import Modulation, ends, named, residual_branches
from polytask.sharing.trunks._places import DECODER, Places, features_for
from polytask.tasks import Task


class ASTMT(MultiTaskModel):
    r"""Attentive single-tasking: one network, one task per forward pass, modulated by modules of that task.

    In a residual block x + g(x) the branch g of the shared network becomes, for task t,

        x + s_t(g(x)) g(x) + W_t x

    with s_t(y) = sigmoid(W2 relu(W1 mean(y))) a gate per channel (squeeze-and-excitation) and W_t a 1 x 1 convolution
    (residual adapter). All norms of the network are the task's own. The tasks whose predictions are maps share the
    decoder as well; its map y becomes s_t(y) y, its norms are the task's own, and each task has its last layer.

    A discriminator learns to tell the task of a gradient, and the features learn to mislead it: with F_t the last
    feature of task t and g_t = dL_t / dF_t of unit size, `penalty` is the cross-entropy of D(g_t), whose gradient the
    discriminator gets as it is and the network reversed, times `strength` (through dg_t / d theta: double
    backward).

    Args:
        backbone: makes a fresh backbone; called once.
        tasks: what to predict; `Task.head` gives the last layers.
        decoder: for tasks whose predictions are maps; by default what suits the backbone (`FPN`, or `LastMap`).
        squeeze_encoder, squeeze_decoder: whether there are gates s_t in the backbone, and on the decoder's map.
        adapters: whether there are W_t in the backbone, zero at the start.
        norms: whether every task has its own norms (of batches, layers, groups).
        discriminator: None leaves it out. With one task there is nothing to tell.
        reduction: W1 leads to c / reduction numbers.
        blocks: from the backbone to those of its modules that are the branches g. By default those of residual networks
            (`DilatedResNet`, ResNets of transformers), as published; where a backbone has none of these, its stages.

    Raises:
        PolytaskError: no task, two of one name, not a backbone; `blocks` gives nothing to work on; the backbone has no
            residual blocks and can't be walked.

    Source: Maninis, Radosavovic, Kokkinos 2019, Attentive Single-Tasking of Multiple Tasks; Hu, Shen, Sun 2018 (s_t);
    Rebuffi, Bilen, Vedaldi 2018, Efficient parametrization of multi-domain deep neural networks (W_t in parallel).
    Written from these descriptions, not from the authors' code. What is ours: W_t starts at zero and has no norm of its
    own, and reads x averaged to the size of g(x) where that is smaller; the discriminator is two linear layers with a
    mean over the positions between them; `strength`; gradients are brought to unit root mean square. A backbone without
    residual blocks has its stages' outputs y changed to s_t(y) y + W_t y: there is no x of the same size.

    `inside` tells the mean of the gates and the discriminator's cross-entropy beside log T, that of guessing.

    Cost of a step: a forward and a backward pass of the trunk per task asked for; with the discriminator also the
    gradient of every loss down to the last feature, and a backward pass through that and through the trunk for all
    tasks together. The second derivative is that of what lies above the last feature: decoder, last layer and loss. A
    model compiled by `torch.compile` has none, which torch says: compile without the discriminator.

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> both = [tasks.Binary("a"), tasks.MultiClass("b", 3)]
    >>> model = sharing.ASTMT(sharing.SmallCNN(1, widths=(4, 8)), both)
    >>> predictions = model(torch.randn(2, 1, 16, 16))
    >>> losses = {"a": predictions["a"].square().mean(), "b": predictions["b"].square().mean()}
    >>> model.penalty(losses).shape
    torch.Size([])
    >>> [(part.module, part.tasks) for part in sharing.describe(model).parts if part.module in ("trunk", "own.a")]
    [('trunk', ('a', 'b')), ('own.a', ('a',))]
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        tasks: Sequence[Task],
        decoder: Decoder | None = None,
        *,
        squeeze_encoder: bool = True,
        squeeze_decoder: bool = True,
        adapters: bool = True,
        norms: bool = True,
        discriminator: GradientDiscriminator | None = GradientDiscriminator(),  # noqa: B008  (frozen)
        reduction: int = 16,
        blocks: Callable[[Backbone], Iterable[nn.Module]] | None = None,
    ) -> None:
        super().__init__(tasks)
        if discriminator is not None and not isinstance(discriminator, GradientDiscriminator):
            raise PolytaskError(f"expected a recipe such as GradientDiscriminator() or None, got {discriminator!r}")
        names, self._dense = self.asked(None), [task.name for task in self.tasks if task.dense]
        self.trunk = build(backbone, lambda fresh: reads(fresh, self.tasks, decoder))
        widths, recipe = self.trunk.widths, decoder_for(self.trunk, decoder)
        mapped = recipe.width(widths)
        self.decoder = recipe(widths) if self._dense else None
        places = Places(self.trunk, self.tasks, decoder)
        layers = residual_branches(self.trunk) if blocks is None else named(self.trunk, blocks)
        gate = reduction if squeeze_encoder else None
        if squeeze_encoder or adapters:
            if layers:
                places.beside(layers, lambda layer: _beside(layer, gate, adapters))
            else:
                places.behind(lambda width: Modulation(width, width, gate, adapters))
        if norms:
            places.norms()
        if norms and self.decoder is not None:
            places.norms_of_decoder(self.decoder, self._dense)
        if squeeze_decoder:
            places.add(DECODER, self._dense, lambda: Modulation(mapped, mapped, reduction, adapter=False))
        self.reads, self._now, self._behind_stages = places.reads, places.now, places.behind_stages
        self.own = places.own()
        self.heads = PerTask({task.name: task.head(mapped if task.dense else widths[-1]) for task in self.tasks})
        self.discriminator = discriminator(widths[-1], names) if discriminator and len(names) > 1 else None
        self._last = _Last()
        self._cross_entropy: Tensor | None = None

    def forward_with_features(self, inputs: Any, tasks: Iterable[str] | None = None) -> tuple[dict[str, Tensor], None]:
        self._last = _Last()
        return {name: self._pass(name, inputs) for name in self.asked(tasks)}, None

    def _pass(self, name: str, inputs: Any) -> Tensor:
        """The prediction of one task, alone in the network."""
        own, head = self.own.of(name), self.heads.of(name)
        adversarial = self.discriminator is not None and self.training and torch.is_grad_enabled()
        with self._now.of(own):
            features = features_for(own, self.trunk, inputs, self._behind_stages)
            if adversarial:
                self._last.features[name] = features[-1]
            if self.decoder is None or name not in self._dense:
                return apply_head(head, pool(features[-1]), inputs)
            decoded = self.decoder([check_map(features[k]) for k in self.reads[name]])
            return resize(head(own(DECODER, decoded, decoded)), image_size(inputs))

    def penalty(self, losses: Mapping[str, Tensor]) -> Tensor | None:
        """The cross-entropy of the discriminator on the gradients of these losses at the last features of their tasks.

        None without a discriminator, in evaluation, and where no task's decoder reads the last feature.
        """
        seen = self._last.features
        found = {
            name: torch.autograd.grad(loss, seen[name], create_graph=True, allow_unused=True)[0]
            for name, loss in losses.items()
            if name in seen
        }
        gradients = {name: each for name, each in found.items() if each is not None}
        if self.discriminator is None or not gradients:
            return None
        value: Tensor = self.discriminator(gradients)
        self._cross_entropy = value.detach()
        return value

    def used_by(self, task: str) -> list[nn.Module]:
        decoder = [self.decoder] if self.decoder is not None and task in self._dense else []
        return [*self.trunk.used_for(self.reads[task]), *decoder, self.own.of(task), self.heads.of(task)]

    def inside(self) -> dict[str, dict[str, float]]:
        """The mean of every gate over the last training batch, by task; and how well the discriminator does."""
        panels: dict[str, dict[str, float]] = {}
        for task in self.asked(None):
            for place, module in self.own.of(task).named_children():
                gate = module.gate if isinstance(module, Modulation) else None
                if gate is not None and gate.mean is not None:
                    panels.setdefault(f"gates of {task}", {})[readable(place)] = gate.mean.item()
        if self._cross_entropy is not None:
            guessing = math.log(len(self.tasks))
            panels["discriminator"] = {"cross-entropy": self._cross_entropy.item(), "of guessing": guessing}
        return panels


def _beside(layer: nn.Module, reduction: int | None, adapter: bool) -> Modulation:
    return Modulation(*ends(layer), reduction, adapter, channels_last=isinstance(layer, nn.Linear))


class _Last:
    """The last feature of every task in the last forward pass of training; copies come without."""

    def __init__(self) -> None:
        self.features: dict[str, Tensor] = {}

    def __reduce__(self) -> tuple[type["_Last"], tuple[()]]:
        return _Last, ()
