"""The head of a task whose predictions are maps."""

from torch import Tensor, nn

from polytask.errors import PolytaskError
from polytask.sharing.heads.fpn import resize


class DenseHead(nn.Module):
    """prediction = resize(head(decoder(features))), bilinear, in the size of the input.

    Args:
        reads: which stages' features the decoder reads.
        decoder: from their maps to one map.
        head: from that map to the task's outputs, position by position.
    """

    def __init__(self, reads: tuple[int, ...], decoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.reads = reads
        self.decoder = decoder
        self.head = head

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Predictions [b, outputs, *size] from the features of all stages of the trunk."""
        read = [features[k] for k in self.reads]
        for feature in read:
            if feature.ndim != 4:
                raise PolytaskError(
                    "a task whose predictions are maps needs maps [b, c, h, w] as features, got "
                    f"{list(feature.shape)}; take a backbone for images, or reshape the tokens in the backbone"
                )
        return resize(self.head(self.decoder(read)), size)
