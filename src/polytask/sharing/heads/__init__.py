"""From the features of a trunk to the predictions of one task."""

from polytask.sharing.heads.decoder import Decoder
from polytask.sharing.heads.deeplab import DeepLab
from polytask.sharing.heads.dense import DenseHead
from polytask.sharing.heads.fpn import FPN, resize
from polytask.sharing.heads.last import LastMap
from polytask.sharing.heads.making import apply_head, image_size, make_head, predict, reads
from polytask.sharing.heads.pooling import pool

__all__ = [
    "FPN",
    "Decoder",
    "DeepLab",
    "DenseHead",
    "LastMap",
    "apply_head",
    "image_size",
    "make_head",
    "pool",
    "predict",
    "reads",
    "resize",
]
