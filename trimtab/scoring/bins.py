"""Which bin each value of a block of rows falls into, for all features at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_MOST_CELLS = 8192
_CELLS_A_CUT = 4


class Bins:
    """The bins (cut before, cut] of each feature, above the last cut, and for NaN, numbered through.

    The range of a feature's cuts is divided into even cells, small enough that each holds one cut at most: the cell
    of a value, which takes no search, leaves one comparison. Rounding is monotone, so a value and a cut that lie in
    different cells are in their order. Where cuts are too close together for that, they are searched.

    Parameters
    ----------
    cuts : mapping of int to np.ndarray
        By feature, ascending, float64, none of them infinity.
    block_rows : int
        The most rows at a time.
    """

    def __init__(self, cuts: Mapping[int, np.ndarray], block_rows: int) -> None:
        self.starts: dict[int, int] = {}
        """Number of each feature's first bin."""
        self._cuts = cuts
        self._missing = np.empty(len(cuts), np.intp)
        start = 0
        for place, (feature, own) in enumerate(cuts.items()):
            self.starts[feature] = start
            self._missing[place] = start + len(own) + 1
            start += len(own) + 2
        self._features = list(cuts)
        self._takes_all = self._features == list(range(len(cuts)))
        self._lay_cells()
        shape = (len(cuts), block_rows)
        self._cells, self._bounds = np.empty(shape), np.empty(shape)
        self._places, self._found = np.empty(shape, np.intp), np.empty(shape, np.intp)
        self._above = np.empty(shape, bool)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of the bins, of shape (features that have cuts, rows), for rows of shape (rows, features)."""
        n = len(rows)
        cells, bounds, above = self._cells[:, :n], self._bounds[:, :n], self._above[:, :n]
        places, found = self._places[:, :n], self._found[:, :n]
        columns = rows.T[: len(self._features)] if self._takes_all else rows.T[self._features]
        np.subtract(columns, self._lows, out=cells)
        np.multiply(cells, self._scales, out=cells)
        # fmax and fmin take the number where the other is NaN.
        np.fmax(cells, 0.0, out=cells)
        np.fmin(cells, self._lasts, out=cells)
        np.copyto(places, cells, casting="unsafe")
        np.add(places, self._first_cells, out=places)
        np.take(self._cell_cuts, places, out=bounds, mode="clip")
        np.take(self._cell_bins, places, out=found, mode="clip")
        np.greater(columns, bounds, out=above)
        np.add(found, above, out=found)
        for place in self._searched:
            feature = self._features[place]
            found[place] = self._cuts[feature].searchsorted(columns[place]) + self.starts[feature]
        missing = np.isnan(columns)
        if missing.any():
            which, at = np.nonzero(missing)
            found[which, at] = self._missing[which]
        return found

    def _lay_cells(self) -> None:
        lows, scales, lasts, first_cells, cell_cuts, cell_bins = [], [], [], [], [], []
        self._searched: list[int] = []
        first = 0
        for place, feature in enumerate(self._features):
            own, start = self._cuts[feature], self.starts[feature]
            low, scale, counts = _even_cells(own)
            if counts is None:
                self._searched.append(place)
                low, scale, counts = 0.0, 0.0, np.zeros(1, np.intp)
            lows.append(low)
            scales.append(scale)
            lasts.append(float(len(counts) - 1))
            first_cells.append(first)
            first += len(counts)
            before = np.cumsum(counts) - counts
            inside = np.full(len(counts), np.inf)
            inside[counts > 0] = own if counts.any() else []
            cell_cuts.append(inside)
            cell_bins.append(before + start)
        self._lows, self._scales, self._lasts = (np.array(each)[:, None] for each in (lows, scales, lasts))
        self._first_cells = np.array(first_cells, np.intp)[:, None]
        self._cell_cuts, self._cell_bins = np.concatenate(cell_cuts), np.concatenate(cell_bins).astype(np.intp)


def _even_cells(cuts: np.ndarray) -> tuple[float, float, np.ndarray | None]:
    """Where the cells begin, how many there are to a unit, and how many cuts lie in each; None if some hold two."""
    if not len(cuts):
        return 0.0, 0.0, np.zeros(1, np.intp)
    with np.errstate(all="ignore"):
        low, width = float(cuts[0]), float(cuts[-1] - cuts[0])
        number = _CELLS_A_CUT
        while number <= _MOST_CELLS:
            scale = float(number / np.float64(width)) if width else 1.0
            if not (np.isfinite(low) and 0.0 < scale < np.inf):
                return low, 0.0, None
            # By the very steps that values take.
            cells = np.fmin(np.fmax((cuts - low) * scale, 0.0), float(number)).astype(np.intp)
            counts = np.bincount(cells, minlength=number + 1)
            if counts.max() <= 1:
                return low, scale, counts
            number *= 2
    return low, 0.0, None
