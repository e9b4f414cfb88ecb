"""Faces drawn by us, with exact landmarks and attributes.

From whole numbers to pictures:

- `traits` is what a face is like, `chance` draws it, with the random numbers of `draws`;
- `anatomy` is its parts and landmarks, `parts` how ellipsoids are seen, `canvas` a picture in layers;
- `backdrop` is behind the head, `marks` on the skin, `wear` on the head: hair and glasses;
- `render` does all of this, `problem` makes tasks and splits.
"""

from polytask.problems.faces.problem import faces

__all__ = ["faces"]
