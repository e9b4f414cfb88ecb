"""Inputs and targets in memory, batches, splits, augmentation, pictures, tables; nothing about models."""

from polytask.data._random import draw_number
from polytask.data.arrays import TensorData
from polytask.data.augment import Augmentation, Move, RandomFlip, RandomScaleCrop
from polytask.data.batch import Augment, Batch
from polytask.data.batches import Batches
from polytask.data.bookkeeping import Bookkeeping
from polytask.data.followers import DepthMap, Follower, LabelMap, NormalMap, Points, SidedClasses, ValueMap
from polytask.data.leakage import Crossing, crossings, duplicates
from polytask.data.mixture import mixture
from polytask.data.samplers import (
    AllTasks,
    Annealed,
    ByError,
    Proportional,
    RoundRobin,
    Sampler,
    Temperature,
    Uniform,
)
from polytask.data.sources import Sources
from polytask.data.splits import split, split_by_time, split_stratified
from polytask.data.texts import hashed_words
from polytask.data.views import View

__all__ = [
    "AllTasks",
    "Annealed",
    "Augment",
    "Augmentation",
    "Batch",
    "Batches",
    "Bookkeeping",
    "ByError",
    "Crossing",
    "DepthMap",
    "Follower",
    "LabelMap",
    "Move",
    "NormalMap",
    "Points",
    "Proportional",
    "RandomFlip",
    "RandomScaleCrop",
    "RoundRobin",
    "Sampler",
    "SidedClasses",
    "Sources",
    "Temperature",
    "TensorData",
    "Uniform",
    "ValueMap",
    "View",
    "crossings",
    "draw_number",
    "duplicates",
    "hashed_words",
    "mixture",
    "split",
    "split_by_time",
    "split_stratified",
]
