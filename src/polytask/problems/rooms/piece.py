"""A piece of furniture under construction."""

from polytask.problems.rooms.scene import Kind, Material, Part, Shape, Triple


class Piece:
    """Parts in axes of their own: x along the width, y from the front to the back, z up from the floor; 0 is the
    middle of the footprint.

    Args:
        kind: the class of all its parts.
        width, depth: of the footprint, in metres.
    """

    def __init__(self, kind: Kind, width: float, depth: float) -> None:
        self.kind = kind
        self.width = width
        self.depth = depth
        self.height = 0.0
        self.parts: list[Part] = []

    def block(self, x: float, y: float, low: float, width: float, depth: float, height: float, look: Material) -> None:
        """A box with its middle above (x, y), from `low` up."""
        half = (width / 2, depth / 2, height / 2)
        self._add(Part(Shape.BOX, (x, y, low + height / 2), half, look, self.kind), low + height)

    def rod(
        self, x: float, y: float, low: float, radius: float, height: float, look: Material, casts: bool = True
    ) -> None:
        """An upright cylinder above (x, y), from `low` up."""
        half = (radius, radius, height / 2)
        part = Part(Shape.CYLINDER, (x, y, low + height / 2), half, look, self.kind, casts=casts)
        self._add(part, low + height)

    def globe(self, x: float, y: float, low: float, radius: float, look: Material, casts: bool = True) -> None:
        """A ball above (x, y), from `low` up."""
        part = Part(Shape.BALL, (x, y, low + radius), (radius,) * 3, look, self.kind, casts=casts)
        self._add(part, low + 2 * radius)

    def legs(self, width: float, depth: float, height: float, thick: float, look: Material, round_: bool) -> None:
        """Four legs at the corners of width x depth."""
        x, y = (width - thick) / 2, (depth - thick) / 2
        for at_x, at_y in ((-x, -y), (x, -y), (-x, y), (x, y)):
            if round_:
                self.rod(at_x, at_y, 0, thick / 2, height, look)
            else:
                self.block(at_x, at_y, 0, thick, thick, height, look)

    def placed(self, to: Triple, turn: tuple[float, float], thing: int) -> list[Part]:
        """Its parts in the room: turned, then moved, all of one object."""
        (x, y, z), (cos, sin) = to, turn
        return [
            Part(
                shape,
                (x + cos * across - sin * along, y + sin * across + cos * along, z + up),
                half,
                look,
                kind,
                thing,
                turn,
                casts,
            )
            for shape, (across, along, up), half, look, kind, _, _, casts in self.parts
        ]

    def _add(self, part: Part, top: float) -> None:
        self.parts.append(part)
        self.height = max(self.height, top)
