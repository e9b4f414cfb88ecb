"""Indoor scenes rendered by ray casting, with exact targets for every pixel.

From two whole numbers to a picture:

- `draw` gives random numbers; `arrange` furnishes a room with them, with `layout`, `furniture`, `storage`, `lamps`,
  `things` and `colours`; `scene` is the room as plain data, `tables` many rooms as columns;
- `cast` finds what every pixel sees, with `cull` and `shapes`, `spots` what the surface is like there;
- `light` colours it, with `patterns` and `textures`, and `sensor` makes bytes of that; `edges` says where edges are;
- `render` does all of this, `problem` makes tasks and splits.
"""

from polytask.problems.rooms.problem import rooms

__all__ = ["rooms"]
