"""Lets tests of tasks start several processes as those of balancing do, and import what these run."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "balancing")]
