"""Backbones, each as a recipe: a frozen dataclass that makes a fresh one at every call."""

from polytask.sharing.backbones.dilated_resnet import DilatedResNet
from polytask.sharing.backbones.mlp import MLP
from polytask.sharing.backbones.others import OutputsOf, Timm, Torchvision
from polytask.sharing.backbones.segnet import SegNet
from polytask.sharing.backbones.small_cnn import SmallCNN
from polytask.sharing.backbones.table import TableInputs
from polytask.sharing.backbones.transformers import Transformers

__all__ = [
    "MLP",
    "DilatedResNet",
    "OutputsOf",
    "SegNet",
    "SmallCNN",
    "TableInputs",
    "Timm",
    "Torchvision",
    "Transformers",
]
