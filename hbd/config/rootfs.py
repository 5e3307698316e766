"""Paths inside a root directory that need not be `/`: symbolic links stay inside it."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

_MOST_LINKS = 40  # as the kernel's ELOOP


def inside(root: Path, path: str | PurePosixPath) -> Path | None:
    """Where an absolute path of the image ends up, with every link followed within root.

    The last component need not exist. None if links go round in a circle.
    """
    todo = [part for part in PurePosixPath(path).parts if part != "/"]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            done = done[:-1]
            continue
        try:
            target = PurePosixPath(os.readlink(root.joinpath(*done, part)))
        except OSError:
            done.append(part)  # No link, or nothing there.
            continue
        links += 1
        if links > _MOST_LINKS:
            return None
        if target.is_absolute():
            done = []
        todo = [piece for piece in target.parts if piece != "/"] + todo
    return root.joinpath(*done)
