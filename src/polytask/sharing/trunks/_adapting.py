"""Which layers of a network a task adapts, and how."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.sharing.backbone import Backbone
from polytask.sharing.trunks._low_rank import LowRank, SmallNetwork
from polytask.sharing.trunks._modulation import ends
from polytask.sharing.trunks._places import Places


class Adapter(ABC):
    """Which layers of a network every task adapts, and how; a frozen dataclass."""

    @abstractmethod
    def put(self, places: Places) -> None:
        """Give the tasks their adapters in a trunk."""


@dataclass(frozen=True)
class LoRA(Adapter):
    r"""W x becomes W x + (alpha / r) B_t A_t x: a product of rank r per task, beside every linear layer.

    A_t [r, inputs] is drawn from a normal distribution of variance 1 / inputs, B_t [outputs, r] is zero: training
    starts from the network as it is. Where a backbone has no linear layers its convolutions are adapted: A_t has the
    geometry of the convolution, B_t is 1 x 1. Grouped convolutions stay as they are.

    Args:
        rank: r.
        alpha: by default r, so that the factor is 1.
        only: the last parts of the names of the layers to adapt, as in ("q_proj", "v_proj"); by default all.
        norms: every task has its own norms as well.

    Source: Hu et al. 2022, LoRA: Low-Rank Adaptation of Large Language Models. There the projections of attention are
    adapted and the network is frozen; A_t is drawn from a normal distribution there too, the variance is ours. The
    library `peft` holds several named adapters on one network, but an adapter that another one is exchanged for no
    longer requires gradients, so that only the last task of a step would learn; and names may not hold dots. Hence
    these few lines.

    Cost: per task r (inputs + outputs) parameters for every layer, and as many multiply-adds for each position.

    >>> from polytask import sharing, tasks
    >>> two = [tasks.Binary("a"), tasks.Binary("b")]
    >>> model = sharing.Adapters(sharing.MLP(10, widths=(64,)), two, by=LoRA(rank=2))
    >>> sum(each.numel() for each in model.own.of("a").parameters())  # 2 (10 + 64)
    148
    """

    rank: int = 8
    alpha: float | None = None
    only: tuple[str, ...] = ()
    norms: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "only", tuple(self.only))
        if not isinstance(self.rank, int) or self.rank < 1:
            raise PolytaskError(f"the rank of LoRA must be a whole number of at least 1, got {self.rank}")

    def put(self, places: Places) -> None:
        layers = _linear(places.trunk) or {
            name: each
            for name, each in places.trunk.named_modules()
            if isinstance(each, nn.Conv2d) and each.groups == 1 and each.padding_mode == "zeros"
        }
        if not layers:
            raise PolytaskError("LoRA needs linear layers or convolutions in the backbone; it has none")
        scale = 1.0 if self.alpha is None else self.alpha / self.rank
        places.beside(_chosen(layers, self.only), lambda layer: LowRank(layer, self.rank, scale))
        if self.norms:
            places.norms()


@dataclass(frozen=True)
class Bottleneck(Adapter):
    """y becomes y + W2 gelu(W1 y + b1) + b2: a small network per task behind the sublayers of a transformer.

    It stands behind the last linear layer of every module that holds two of them or more: the projection of attention
    and the end of the feed-forward layers, before they are added to the stream, as published. In a backbone without
    such modules it stands behind every stage. W2 and b2 are zero: training starts from the network as it is.
    Where a network keeps these last layers in modules apart the rule finds others: name them in `only`, as in
    ("output.dense",) for "swinv2" of transformers. The modules of `model.own` bear the names of what was found.

    Args:
        width: of W1 y.
        only: the last parts of the names of the layers that it stands behind; by default as above.
        norms: every task has its own norms as well, as published.

    Source: Houlsby et al. 2019, Parameter-Efficient Transfer Learning for NLP, figure 2. There the network is frozen,
    and the start is near the identity instead of at it. GELU is ours.

    Cost: per task 2 c width parameters for every place, and as many multiply-adds for each position.

    >>> from polytask import sharing, tasks
    >>> two = [tasks.Binary("a"), tasks.Binary("b")]
    >>> model = sharing.Adapters(sharing.SmallCNN(1, widths=(8, 16)), two, by=Bottleneck(width=4, norms=False))
    >>> sum(each.numel() for each in model.own.of("a").parameters())  # (2 8 4 + 4 + 8) + (2 16 4 + 4 + 16)
    224
    """

    width: int = 16
    only: tuple[str, ...] = ()
    norms: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "only", tuple(self.only))
        if not isinstance(self.width, int) or self.width < 1:
            raise PolytaskError(f"a bottleneck needs a width of at least 1, a whole number, got {self.width}")

    def put(self, places: Places) -> None:
        layers = _chosen(_linear(places.trunk), self.only) if self.only else _last_of_several(places.trunk)
        if layers:
            places.beside(layers, lambda layer: SmallNetwork(ends(layer)[1], self.width, channels_last=True))
        else:
            places.behind(lambda channels: SmallNetwork(channels, self.width, channels_last=False))
        if self.norms:
            places.norms()


def _linear(backbone: Backbone) -> dict[str, nn.Module]:
    """Without those whose weights `nn.MultiheadAttention` reads itself: they are never called."""
    return {
        name: each
        for name, each in backbone.named_modules()
        if isinstance(each, nn.Linear) and not isinstance(each, nn.modules.linear.NonDynamicallyQuantizableLinear)
    }


def _chosen(layers: Mapping[str, nn.Module], only: tuple[str, ...]) -> dict[str, nn.Module]:
    """Those whose names end with one of these; all where none are given."""
    found = {
        name: layer
        for name, layer in layers.items()
        if not only or any(f".{name}".endswith(f".{last}") for last in only)
    }
    for last in only:
        if not any(f".{name}".endswith(f".{last}") for name in found):
            ends = sorted({name.rpartition(".")[2] for name in layers})
            raise PolytaskError(f"no layer to adapt has a name that ends with '{last}'; {did_you_mean(last, ends)}")
    return found


def _last_of_several(backbone: Backbone) -> dict[str, nn.Module]:
    """The last of the linear layers that a module holds, where it holds several."""
    found = {}
    for name, module in backbone.named_modules():
        inside = [last for last, each in module.named_children() if isinstance(each, nn.Linear)]
        if len(inside) > 1 and not isinstance(module, nn.ModuleList | nn.ModuleDict):
            path = f"{name}.{inside[-1]}".lstrip(".")
            found[path] = backbone.get_submodule(path)
    return found
