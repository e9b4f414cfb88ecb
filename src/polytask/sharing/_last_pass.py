"""What a model remembers of its last forward pass."""

from torch import Tensor


class LastPass:
    """Further predictions and attention gates of the last forward pass; copies and saved models come without them.

    Args:
        intermediate: further predictions by task, with their graph.
        means: of every gate seen in training, by panel and line, as scalars on the device.
        maps: gates as maps [b, h, w], by label.
    """

    def __init__(self) -> None:
        self.intermediate: dict[str, list[Tensor]] = {}
        self.means: dict[str, dict[str, Tensor]] = {}
        self.maps: dict[str, Tensor] = {}

    def begin(self) -> None:
        """Forget what belongs to one pass alone."""
        self.intermediate = {}
        self.maps = {}

    def see(self, panel: str, line: str, gate: Tensor, mean: bool, whole: bool) -> None:
        """Keep a gate [b, c, h, w], without its graph: its mean, and as a map (the mean over its channels)."""
        if mean:
            self.means.setdefault(panel, {})[line] = gate.detach().mean()
        if whole and gate.shape[-2:] != (1, 1):
            self.maps[f"{panel}: {line}"] = gate.detach().mean(1)

    def inside(self) -> dict[str, dict[str, float]]:
        """The means, as `MultiTaskModel.inside` gives them."""
        return {panel: {line: mean.item() for line, mean in means.items()} for panel, means in self.means.items()}

    def __reduce__(self) -> tuple[type["LastPass"], tuple[()]]:
        return LastPass, ()
