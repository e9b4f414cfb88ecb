"""Heads that talk to each other."""

from polytask.sharing.decoders.cascade import Cascade
from polytask.sharing.decoders.distillation import (
    AttentionGated,
    ConcatenationDistillation,
    Distillation,
    Distilling,
    MessagePassing,
)
from polytask.sharing.decoders.mti_net import MTINet
from polytask.sharing.decoders.pad_net import PADNet

__all__ = [
    "AttentionGated",
    "Cascade",
    "ConcatenationDistillation",
    "Distillation",
    "Distilling",
    "MTINet",
    "MessagePassing",
    "PADNet",
]
