"""What stands and hangs where in a room."""

import math

from polytask.problems.rooms.draw import Draw
from polytask.problems.rooms.piece import Piece
from polytask.problems.rooms.scene import Camera, Kind, Part, Triple

Turn = tuple[float, float]  # cosine and sine
Spot = tuple[float, float]  # x and y
Rectangle = tuple[float, float, float, float]  # from x, to x, from y, to y

WALLS: tuple[Turn, ...] = ((0.0, 1.0), (0.0, -1.0), (-1.0, 0.0), (1.0, 0.0))  # with the back to x = 0, x, y = 0, y
TRIES = 8  # places tried for a piece before it is left out
APART = 0.04  # metres left free around a piece
LOW = 1.3  # metres: on what is lower other things may stand


class Layout:
    """A room that is being furnished.

    Args:
        draw: draws the places.
        room: its size.
        camera: the place around it, and half a metre and more in front of it, is kept free.
    """

    def __init__(self, draw: Draw, room: Triple, camera: Camera) -> None:
        self.room = room
        self.parts: list[Part] = []
        self.tops: list[tuple[Piece, Spot, Turn]] = []  # what other things may stand on
        self._draw = draw
        self._things = 0
        self._taken = [_in_front(camera)]
        self._hung: list[tuple[int, float, float]] = []  # wall, from, to

    def at_wall(self, piece: Piece) -> Spot | None:
        """Stands with its back to a wall; where, or None if there is no room for it."""
        for _ in range(TRIES):
            wall, gap = self._draw.whole(0, 3), self._draw.between(0.015, 0.05)
            length = self.room[1 if wall < 2 else 0]
            along = piece.width / 2 + 0.02 + self._draw.unit() * (length - piece.width - 0.04)
            spot = self._from_wall(wall, along, piece.depth / 2 + gap)
            if piece.width < length - 0.05 and self._stand(piece, spot, WALLS[wall]):
                return spot
        return None

    def anywhere(self, piece: Piece, angle: float | None = None, around: float = 0.0) -> Spot | None:
        """Stands anywhere, turned at will or by an angle, with so many metres free around it; where, or None."""
        for _ in range(TRIES):
            spot = self._draw.between(0.2, self.room[0] - 0.2), self._draw.between(0.2, self.room[1] - 0.2)
            turned = self._draw.between(0, 2 * math.pi) if angle is None else angle
            if self._stand(piece, spot, (math.cos(turned), math.sin(turned)), around):
                return spot
        return None

    def beside(self, piece: Piece, spot: Spot, angle: float) -> None:
        """Stands at this spot, even where other footprints are: a chair under a table. Not in front of the camera."""
        turn = math.cos(angle), math.sin(angle)
        rectangle = _rectangle(spot, piece.width, piece.depth, turn)
        if self._inside(rectangle) and not _overlap(rectangle, self._taken[0]):
            self._taken.append(rectangle)
            self.place(piece, spot, 0.0, turn)

    def lie(self, piece: Piece) -> None:
        """Lies on the floor around the middle of the room, under everything."""
        spot = self.room[0] * self._draw.between(0.35, 0.65), self.room[1] * self._draw.between(0.35, 0.65)
        turn = self._draw.one_of(WALLS)
        if self._inside(_rectangle(spot, piece.width, piece.depth, turn)):
            self.place(piece, spot, 0.0, turn)

    def on(self, top: tuple[Piece, Spot, Turn], piece: Piece) -> None:
        """Stands on another piece, if that is wide enough."""
        below, (x, y), turn = top
        if piece.width < below.width and piece.depth < below.depth:
            along = self._draw.between(-0.5, 0.5) * (below.width - piece.width)
            self.place(piece, (x + turn[0] * along, y + turn[1] * along), below.height, turn)

    def hang(self, piece: Piece, height: float, free: float = 0.0) -> Spot | None:
        """Hangs on a wall at this height.

        Args:
            piece: with its back at y = 0.
            height: of its z = 0.
            free: so many metres in front of it nothing shall stand.

        Returns:
            The spot 0.4 m in front of its middle, or None if there is no room for it.
        """
        for _ in range(TRIES):
            wall = self._draw.whole(0, 3)
            length = self.room[1 if wall < 2 else 0]
            along = piece.width / 2 + 0.1 + self._draw.unit() * (length - piece.width - 0.2)
            low, high = along - piece.width / 2 - 0.05, along + piece.width / 2 + 0.05
            room_left = all(other != wall or high < start or low > end for other, start, end in self._hung)
            if room_left and low > 0 and high < length:
                self._hung.append((wall, low, high))
                self.place(piece, self._from_wall(wall, along, 0.001), height, WALLS[wall])
                if free:
                    middle = self._from_wall(wall, along, free / 2)
                    self._taken.append(_rectangle(middle, piece.width, free, WALLS[wall]))
                return self._from_wall(wall, along, 0.4)
        return None

    def place(self, piece: Piece, spot: Spot, height: float, turn: Turn) -> None:
        """Is there, whatever else is: a new object."""
        self._things += 1
        self.parts += piece.placed((*spot, height), turn, self._things)

    def _stand(self, piece: Piece, spot: Spot, turn: Turn, around: float = 0.0) -> bool:
        """Stands on the floor if nothing else does; whether it does."""
        rectangle = _rectangle(spot, piece.width + APART + around, piece.depth + APART + around, turn)
        if any(_overlap(rectangle, other) for other in self._taken):
            return False
        own = _rectangle(spot, piece.width, piece.depth, turn)
        if not self._inside(own):
            return False
        self._taken.append(own)
        self.place(piece, spot, 0.0, turn)
        if piece.kind in (Kind.TABLE, Kind.CUPBOARD) and piece.height < LOW:
            self.tops.append((piece, spot, turn))
        return True

    def _from_wall(self, wall: int, along: float, apart: float) -> Spot:
        """The spot so far along a wall and so far from it."""
        across = self.room[0 if wall < 2 else 1] - apart if wall in (1, 3) else apart
        return (across, along) if wall < 2 else (along, across)

    def _inside(self, rectangle: Rectangle) -> bool:
        return rectangle[0] > 0 and rectangle[1] < self.room[0] and rectangle[2] > 0 and rectangle[3] < self.room[1]


def _rectangle(spot: Spot, width: float, depth: float, turn: Turn) -> Rectangle:
    """The smallest rectangle along the walls around a turned one."""
    cos, sin = abs(turn[0]), abs(turn[1])
    half_x, half_y = (width * cos + depth * sin) / 2, (width * sin + depth * cos) / 2
    return spot[0] - half_x, spot[0] + half_x, spot[1] - half_y, spot[1] + half_y


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def _in_front(camera: Camera) -> Rectangle:
    """Around a camera and a point 0.7 m in front of it, 0.3 m to each side."""
    x, y, _ = camera.place
    ahead_x, ahead_y = x + 0.7 * math.cos(camera.yaw), y + 0.7 * math.sin(camera.yaw)
    return min(x, ahead_x) - 0.3, max(x, ahead_x) + 0.3, min(y, ahead_y) - 0.3, max(y, ahead_y) + 0.3
