"""Inputs and targets in memory, batches, splits, tables; nothing about models."""

from polytask.data.arrays import Batch, TensorData
from polytask.data.batches import Batches
from polytask.data.splits import split

__all__ = ["Batch", "Batches", "TensorData", "split"]
