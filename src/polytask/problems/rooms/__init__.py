"""Indoor scenes rendered by ray casting, with exact targets for every pixel.

From two whole numbers to a picture: `draw` (random numbers), `arrange` with `layout`, `furniture`, `storage`, `lamps`,
`things` and `colours` (what is in the room), `scene` (that as data), `tables` (many scenes as columns), `cast` with
`cull` and `shapes` (rays), `spots` (surfaces), `light` with `patterns` and `textures` (colours), `sensor` (bytes), `edges`,
`render` (all of it together), `problem` (tasks and splits).
"""

from polytask.problems.rooms.problem import rooms

__all__ = ["rooms"]
