"""Gradient balancers that need no more than the Gramian of the task gradients."""

from polytask.balancing.gramian.aligned import AlignedMTL
from polytask.balancing.gramian.cagrad import CAGrad
from polytask.balancing.gramian.config import ConFIG
from polytask.balancing.gramian.cr_mogm import CRMOGM
from polytask.balancing.gramian.fairgrad import FairGrad
from polytask.balancing.gramian.gradient_similarity import GradientSimilarity
from polytask.balancing.gramian.gradvac import GradVac
from polytask.balancing.gramian.imtl_g import IMTLG
from polytask.balancing.gramian.krum import Krum
from polytask.balancing.gramian.mgda import MGDA
from polytask.balancing.gramian.modo import MoDo
from polytask.balancing.gramian.nash import NashMTL
from polytask.balancing.gramian.ntkmtl import NTKMTL
from polytask.balancing.gramian.pcgrad import PCGrad
from polytask.balancing.gramian.sdmgrad import SDMGrad
from polytask.balancing.gramian.upgrad import DualProj, UPGrad

__all__ = [
    "CRMOGM",
    "NTKMTL",
    "MoDo",
    "SDMGrad",
    "IMTLG",
    "MGDA",
    "AlignedMTL",
    "CAGrad",
    "ConFIG",
    "DualProj",
    "FairGrad",
    "GradVac",
    "GradientSimilarity",
    "Krum",
    "NashMTL",
    "PCGrad",
    "UPGrad",
]
