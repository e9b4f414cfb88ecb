"""Backbones, each as a recipe: a frozen dataclass that makes a fresh one at every call."""

from polytask.sharing.backbones.bare import Bare
from polytask.sharing.backbones.dilated_resnet import DilatedResNet
from polytask.sharing.backbones.fusion import Fusion
from polytask.sharing.backbones.imported import Imported
from polytask.sharing.backbones.inputs import PartInput
from polytask.sharing.backbones.language import Language
from polytask.sharing.backbones.mlp import MLP
from polytask.sharing.backbones.others import OutputsOf, Timm, Torchvision
from polytask.sharing.backbones.pictures import Pictures, Vector
from polytask.sharing.backbones.segnet import SegNet
from polytask.sharing.backbones.small_cnn import SmallCNN
from polytask.sharing.backbones.table import TableInputs
from polytask.sharing.backbones.tcdcn import TCDCN
from polytask.sharing.backbones.transformers import Transformers
from polytask.sharing.backbones.words import Words

__all__ = [
    "MLP",
    "Bare",
    "TCDCN",
    "DilatedResNet",
    "Fusion",
    "Imported",
    "Language",
    "OutputsOf",
    "PartInput",
    "Pictures",
    "SegNet",
    "SmallCNN",
    "TableInputs",
    "Timm",
    "Torchvision",
    "Transformers",
    "Vector",
    "Words",
]
