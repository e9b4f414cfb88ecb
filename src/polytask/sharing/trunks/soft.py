"""Networks of their own that are drawn to each other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polytask._text import did_you_mean
from polytask.errors import PolytaskError
from polytask.penalties import DISTANCES
from polytask.sharing.backbone import Backbone
from polytask.sharing.heads import Decoder, predict
from polytask.sharing.trunks._kept import Kept
from polytask.sharing.trunks._networks import Networks, check_stages, check_walk
from polytask.sharing.walking import walk_together
from polytask.tasks import Task


class SoftSharing(Networks):
    r"""A network per task, tied to the others by a penalty on how far they are from each other.

    penalty = strength * sum over layers l of d(theta_l1, ..., theta_lT), with theta_lt a parameter tensor of the
    network of task t, and d the sum over pairs of squared or absolute differences, or the trace norm of the T tensors
    as one matrix (`penalties.DISTANCES`). With strength 0 the networks are independent; the stronger a distance, the
    more equal they become. A trace norm draws them into few common directions, and towards 0.

    With `activations` the outputs of stages are tied in place of the parameters, for the same inputs:

        penalty = strength * sum over stages k of d(x_k1, ..., x_kT) / n_k,

    with n_k the numbers in one output x_kt. Tasks that a forward pass was not asked for take no part in it.

    Heads are never tied. Biases and the scales of norms are; running means of batch normalisation are no parameters.
    The networks start with weights of their own; `sharing.start_from` one hard-sharing model, for all tasks, starts
    them equal.

    Args:
        backbone: makes a fresh backbone at each call; every task gets its own.
        tasks: what to predict, at least two; `Task.head` gives the heads.
        decoder: for tasks whose predictions are maps; by default what suits the backbone (`FPN`, or `LastMap`).
        strength: of the penalty, 0 or more. The default is ours: tune it.
        distance: "squared_l2", "l1", "trace_norm" (last axis flattening), "trace_norm_tucker" or "trace_norm_tt".
        stages: whose parameters or outputs are tied, 0 (the lowest) to S - 1; all when left out. Parameters that belong
            to no one stage, as those of a norm of features, are tied when it is left out.
        activations: tie the outputs of the stages.

    Raises:
        PolytaskError: one task alone, a negative strength, no such distance or stage, or a backbone that can't stop
            between its stages where its activations are to be tied.

    Source: Duong et al. 2015, Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a Neural Network
    Parser (squared L2 of parameters; there the network of the source language is trained before, here all learn
    together); Yang, Hospedales 2017, Trace Norm Regularised Deep Multi-Task Learning. Ties of activations have no one
    source. What a network lacks, since its head reads fewer stages, is tied in none.

    Cost: as many networks as tasks, and a few passes over their parameters. Trace norms: see `penalties.trace_norm`.
    `training.fit` takes the gradient of the penalty apart: where activations are tied, that is one more backward pass.

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> both = [tasks.Binary("a"), tasks.MultiClass("b", 3)]
    >>> model = sharing.SoftSharing(sharing.MLP(4, widths=(8,)), both, strength=0.5)
    >>> one, other = (network.backbone.stages[0].linear for network in model.networks.values())
    >>> by_hand = sum((p - q).square().sum() for p, q in zip(one.parameters(), other.parameters()))
    >>> torch.allclose(model.penalty({}), 0.5 * by_hand)
    True
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        tasks: Sequence[Task],
        decoder: Decoder | None = None,
        *,
        strength: float = 0.01,
        distance: str = "squared_l2",
        stages: Sequence[int] | None = None,
        activations: bool = False,
    ) -> None:
        super().__init__(backbone, tasks, decoder)
        if not 0 <= strength < float("inf"):
            raise PolytaskError(f"strength must be 0 (independent networks) or more, got {strength}")
        if distance not in DISTANCES:
            raise PolytaskError(f"there is no distance '{distance}'; {did_you_mean(distance, DISTANCES)}")
        self.strength, self.distance, self.activations = strength, distance, activations
        for each in self.backbones().values() if activations else []:
            check_walk(each)
        self.stages = check_stages(stages, len(self.network(self.names[0]).backbone.widths))
        first, *others = (_learned(each, stages) for each in self.backbones().values())
        self._tied = tuple(name for name in first if all(name in each for each in others))
        self._last = Kept()

    def forward_with_features(self, inputs: Any, tasks: Iterable[str] | None = None) -> tuple[dict[str, Tensor], None]:
        asked = self.asked(tasks)
        self._last.begin()
        if not (self.activations and self.training and self.strength):
            return {name: self.networks.of(name)(inputs) for name in asked}, None

        def see(stage: int, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
            if stage in self.stages:
                self._last.keep(list(outputs.values()))
            return outputs

        features = walk_together({name: self.network(name).backbone for name in asked}, inputs, see)
        return {name: predict(self.network(name).head, features[name], inputs) for name in asked}, None

    def used_by(self, task: str) -> list[nn.Module]:
        return [self.networks.of(task)]

    def penalty(self, losses: Mapping[str, Tensor]) -> Tensor | None:
        """How far the networks are from each other, times the strength; None where nothing is tied."""
        distance = DISTANCES[self.distance]
        if not self.strength:
            return None
        if self.activations:
            terms = [
                distance(torch.stack(each).float()) / each[0].numel() for each in self._last.groups if len(each) > 1
            ]
        else:
            networks = [dict(each.named_parameters()) for each in self.backbones().values()]
            terms = [distance(torch.stack([each[name] for each in networks])) for name in self._tied]
        return self.strength * torch.stack(terms).sum() if terms else None


def _learned(backbone: Backbone, stages: Sequence[int] | None) -> list[str]:
    """The names of the parameters of a backbone that learn, and belong to these stages."""
    learned = {name: each for name, each in backbone.named_parameters() if each.requires_grad}
    if stages is None:
        return list(learned)
    below = [{id(each) for each in backbone.split(k)[0].parameters()} for k in range(len(backbone.widths) + 1)]
    inside = set().union(*(below[k + 1] - below[k] for k in stages))
    return [name for name, each in learned.items() if id(each) in inside]
