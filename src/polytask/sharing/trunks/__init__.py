"""Who shares what below the heads."""

from polytask.sharing.trunks._adapting import Adapter, Bottleneck, LoRA
from polytask.sharing.trunks._descriptors import LearnedDescriptors
from polytask.sharing.trunks._discriminator import GradientDiscriminator
from polytask.sharing.trunks.adapters import Adapters
from polytask.sharing.trunks.astmt import ASTMT
from polytask.sharing.trunks.conditioning import Addition, Concatenation, Conditioned, Conditioning, FiLM, Gating
from polytask.sharing.trunks.cross_stitch import CrossStitch
from polytask.sharing.trunks.hard import HardSharing
from polytask.sharing.trunks.independent import Independent
from polytask.sharing.trunks.mtan import MTAN
from polytask.sharing.trunks.nddr import NDDR
from polytask.sharing.trunks.pooled import Pooled
from polytask.sharing.trunks.separate import Separate
from polytask.sharing.trunks.sluice import Sluice
from polytask.sharing.trunks.soft import SoftSharing

__all__ = [
    "ASTMT",
    "MTAN",
    "NDDR",
    "Adapter",
    "Adapters",
    "Addition",
    "Bottleneck",
    "Concatenation",
    "Conditioned",
    "Conditioning",
    "CrossStitch",
    "FiLM",
    "Gating",
    "GradientDiscriminator",
    "HardSharing",
    "Independent",
    "LearnedDescriptors",
    "LoRA",
    "Pooled",
    "Separate",
    "Sluice",
    "SoftSharing",
]
