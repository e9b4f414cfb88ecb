"""One network that does not tell the members of a task apart."""

from collections.abc import Callable, Sequence

from polytask.sharing.backbone import Backbone
from polytask.sharing.heads import Decoder
from polytask.sharing.trunks.hard import HardSharing
from polytask.tasks import Many, Task


class Pooled(HardSharing):
    """Hard sharing in which all members of a task that stands for many (`tasks.Many`) have one head.

    prediction of member t = head(trunk(x)), whatever t is. Beside `Separate` and `HardSharing`, where every member has
    a head of its own, it tells what a study of many tasks has to tell: whether the members differ at all.

    Args:
        backbone: makes a fresh backbone; called once.
        tasks: what to predict; tasks without members are shared as `HardSharing` does.
        decoder: for tasks whose predictions are maps; by default what suits the backbone.

    Cost: that of one network for one task.

    >>> import torch
    >>> from polytask import sharing, tasks
    >>> exam = tasks.ManyRegression("exam", ("north", "south"), "school")
    >>> model = sharing.Pooled(sharing.Bare(sharing.TableInputs(3)), [exam])
    >>> rows = {"numbers": torch.ones(2, 3), "categories": torch.zeros(2, 0), "school": torch.tensor([0, 1])}
    >>> one, other = model(rows)["exam"]
    >>> bool(one == other)
    True
    """

    def __init__(self, backbone: Callable[[], Backbone], tasks: Sequence[Task], decoder: Decoder | None = None) -> None:
        super().__init__(
            backbone, [task.pooled() if isinstance(task, Many) else task for task in tasks], decoder=decoder
        )
