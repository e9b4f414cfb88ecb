"""Inputs and targets in memory, batches, splits, augmentation, pictures, tables; nothing about models."""

from polytask.data._random import draw_number
from polytask.data.arrays import TensorData
from polytask.data.augment import Augmentation, Move, RandomFlip, RandomScaleCrop
from polytask.data.batch import Augment, Batch
from polytask.data.batches import Batches
from polytask.data.followers import DepthMap, Follower, LabelMap, NormalMap, Points, ValueMap
from polytask.data.splits import split
from polytask.data.views import View

__all__ = [
    "Augment",
    "Augmentation",
    "Batch",
    "Batches",
    "DepthMap",
    "Follower",
    "LabelMap",
    "Move",
    "NormalMap",
    "Points",
    "RandomFlip",
    "RandomScaleCrop",
    "TensorData",
    "ValueMap",
    "View",
    "draw_number",
    "split",
]
