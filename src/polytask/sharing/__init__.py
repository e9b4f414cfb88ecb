"""Modules in, {task: prediction} out: backbones, and who shares what of them."""

from polytask.sharing.backbone import Backbone, SequentialBackbone, State
from polytask.sharing.backbones import MLP, SmallCNN, TableInputs, Transformers
from polytask.sharing.describe import Description, Part, describe
from polytask.sharing.heads import FPN, Decoder, LastMap, pool
from polytask.sharing.model import MultiTaskModel
from polytask.sharing.stacked import StackedHeads
from polytask.sharing.trunks import HardSharing, Independent

__all__ = [
    "FPN",
    "MLP",
    "Backbone",
    "Decoder",
    "Description",
    "HardSharing",
    "Independent",
    "LastMap",
    "MultiTaskModel",
    "Part",
    "SequentialBackbone",
    "SmallCNN",
    "StackedHeads",
    "State",
    "TableInputs",
    "Transformers",
    "describe",
    "pool",
]
