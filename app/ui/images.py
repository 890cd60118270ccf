"""A zip of images, a folder for each class, as one `.npz` file that the recipe can train on.

Nothing of the archive is written anywhere but as pixels, so its names can lead nowhere.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ...tools.errors import LuthierError

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
_SIDE = 32
"""Pixels that a side has afterwards: what a small network can use."""
_MOST_IMAGES = 100_000
_MOST_BYTES = 20 << 20
"""Of one file in the archive."""
_MOST_PIXELS = 50_000_000


class ImagesError(LuthierError, ValueError):
    """An archive that cannot be used."""


def pack(archive: Path) -> tuple[dict[str, NDArray[np.generic]], str]:
    """Read the images of a zip file.

    Args:
        archive: The file; a folder for each class, at any depth. Other files are passed over.

    Returns:
        Arrays `X`, uint8 of shape (images, channels, 32, 32) with one channel if all are grey, and
        `y`, the names of their folders; and what they are, in words.

    Raises:
        ImagesError: If it is damaged, too large, or has no two folders of images.
    """
    images, labels = [], []
    try:
        with zipfile.ZipFile(archive) as file:
            for path, content in _members(file):
                images.append(_pixels(path, content))
                labels.append(path.parent.name)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # also encrypted ones
        raise ImagesError(f"{archive.name!r} cannot be unpacked: {error}") from None
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise ImagesError(
            f"{archive.name!r} has {len(images)} images in {len(classes)} folders; at least two "
            "folders of images are needed, one for each class"
        )
    X = np.stack(images)
    if (X == X[..., :1]).all():
        X = X[..., :1]
    said = f"{len(images)} images of {len(classes)} classes, made {_SIDE} x {_SIDE} pixels large"
    return {"X": X.transpose(0, 3, 1, 2), "y": np.array(labels)}, said


def _members(file: zipfile.ZipFile) -> Iterator[tuple[PurePosixPath, bytes]]:
    found = 0
    for member in file.infolist():
        path = PurePosixPath(member.filename)
        hidden = any(part.startswith((".", "__")) for part in path.parts)
        if member.is_dir() or hidden or path.suffix.lower() not in _SUFFIXES:
            continue
        if not path.parent.name:
            raise ImagesError(
                f"{path.name!r} is in no folder; each class needs a folder of its own"
            )
        found += 1
        if found > _MOST_IMAGES:
            raise ImagesError(f"there are more than {_MOST_IMAGES:,} images; leave some out")
        with file.open(member) as stream:
            content = stream.read(_MOST_BYTES + 1)  # whatever size its header claims
        if len(content) > _MOST_BYTES:
            raise ImagesError(
                f"{path.name!r} has more than {_MOST_BYTES >> 20} MiB; make it smaller"
            )
        yield path, content


def _pixels(path: PurePosixPath, content: bytes) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ImagesError(f"{path.name!r} has {image.width} x {image.height} pixels")
            small = ImageOps.exif_transpose(image).convert("RGB").resize((_SIDE, _SIDE))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, ImagesError):
            raise
        raise ImagesError(f"{path.name!r} is no image that can be read: {error}") from None
    return np.asarray(small, dtype=np.uint8)
