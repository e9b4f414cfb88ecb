"""Who shares what below the heads."""

from polytask.sharing.trunks.hard import HardSharing
from polytask.sharing.trunks.independent import Independent

__all__ = ["HardSharing", "Independent"]
