"""How much to share: hard sharing with every number of shared stages."""

from collections.abc import Callable
from functools import partial

import torch

from polytask.balancing import Balancer, Equal
from polytask.problems import Problem
from polytask.sharing import Backbone, HardSharing
from polytask.sharing.backbone import build
from polytask.study.arms import Arm, Sharing


def split_levels(of: Problem | Callable[[], Backbone], balancer: Balancer | None = None) -> list[Arm]:
    """Hard sharing of the first s stages of a backbone, for every s: the arms of the study of where to split.

    With s = 0 the networks are independent but trained together, with s = S (all stages) there is one trunk.

    Args:
        of: the problem, or the backbone itself, which is made once to count its stages.
        balancer: of all of them; `Equal` by default.

    Returns:
        S + 1 arms. The last one is hard sharing as it is by default, so that a comparison does not train it twice.

    Source: Misra, Shrivastava, Gupta, Hebert 2016, "Cross-stitch Networks for Multi-task Learning", which trains such a
    family of networks for every pair of tasks and finds that the best s depends on the pair.

    Cost: a comparison of all of them trains S + 1 networks per seed besides the single-task ones.

    >>> from polytask import sharing
    >>> [arm.name for arm in split_levels(sharing.MLP(4, widths=(8, 8)))]
    ['HardSharing(shared_stages=0) + Equal', 'HardSharing(shared_stages=1) + Equal', 'HardSharing + Equal']
    """
    with torch.random.fork_rng():
        stages = len(build(of.backbone if isinstance(of, Problem) else of).widths)
    ways: list[Sharing] = [*(partial(HardSharing, shared_stages=s) for s in range(stages)), HardSharing]
    return [Arm(way, balancer or Equal()) for way in ways]
