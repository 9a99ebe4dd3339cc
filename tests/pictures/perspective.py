"""A flat picture seen from aside."""

from collections.abc import Sequence

from PIL import Image

Point = tuple[float, float]


def perspective(picture: Image.Image, corners: Sequence[Point]) -> Image.Image:
    """`picture` with its corners (from the left top one on, clockwise) at these points, 0 around."""
    width, height = picture.size
    own = ((0, 0), (width, 0), (width, height), (0, height))
    rows, values = [], []
    for (x, y), (u, v) in zip(corners, own, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return picture.transform(
        picture.size, Image.Transform.PERSPECTIVE, _solved(rows, values), Image.Resampling.BICUBIC
    )


def _solved(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """Gaussian elimination; the points must not lie on one line."""
    table = [[*row, value] for row, value in zip(rows, values, strict=True)]
    size = len(table)
    for at in range(size):
        pivot = max(range(at, size), key=lambda row: abs(table[row][at]))
        table[at], table[pivot] = table[pivot], table[at]
        for row in range(size):
            if row != at:
                factor = table[row][at] / table[at][at]
                table[row] = [a - factor * b for a, b in zip(table[row], table[at], strict=True)]
    return [row[size] / row[at] for at, row in enumerate(table)]
