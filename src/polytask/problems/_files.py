"""Data files that problems read from disk."""

from pathlib import Path

from polytask.errors import PolytaskError


def data_file(data_root: str | Path, name: str) -> Path:
    """The file of this name (with its folder) below `data_root`; an error says where it was expected."""
    root, path = Path(data_root), Path(data_root) / name
    if path.is_file():
        return path
    if not root.is_dir():
        raise PolytaskError(f"no folder {root}: --data-root must be the folder that holds {name}")
    raise PolytaskError(f"expected the file {path} and it is not there; put it there or give another --data-root")
