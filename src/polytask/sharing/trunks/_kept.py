"""Activations that a penalty is made of."""

from torch import Tensor


class Kept:
    """Groups of tensors of the last forward pass, with their graph; copies and saved models come without them."""

    def __init__(self) -> None:
        self.groups: list[list[Tensor]] = []

    def begin(self) -> None:
        """Forget the pass before."""
        self.groups = []

    def keep(self, group: list[Tensor]) -> None:
        """One group more."""
        self.groups.append(group)

    def __reduce__(self) -> tuple[type["Kept"], tuple[()]]:
        return Kept, ()
