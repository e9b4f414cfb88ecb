"""Lets the tests of sharing import `sharing_cases`, the one list that a new architecture joins."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
