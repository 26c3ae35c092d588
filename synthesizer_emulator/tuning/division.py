"""The samples that train, those that validate, and those that judge.

Trials are trained on some samples and compared on others, the validation. The
nodes that judge the best settings are left out of both.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.architectures.training import (
    TrainingConfig,
    split_samples,
)
from synthesizer_emulator.building.grid_nodes import GridNodes
from synthesizer_emulator.building.source import SampleSource
from synthesizer_emulator.evaluation.thinned import ThinnedGrid
from synthesizer_emulator.gridfile.nodes import Drop, node_mesh

# Validation by the samples that each training holds out.
SPLIT = "split"

# The indices of nodes, by the index of the axis.
Nodes = Mapping[int, NDArray[np.intp]]


@dataclass(frozen=True)
class Division:
    """A training set, and the samples at which its emulators are compared.

    Attributes:
        source (SampleSource): The samples to train on.
        whole (GridNodes): The whole grid; None for scattered samples.
        compared (Mapping): The nodes to compare at, which were left out of
            `source`; those with one of these indices along an axis. None for
            the samples that each training holds out.
        excluded (Mapping): Nodes at which not to compare, in the same form.
    """

    source: SampleSource
    whole: GridNodes | None
    compared: Nodes | None
    excluded: Nodes

    def truth(
        self, emission: str, training: TrainingConfig
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return axis values (m, d), and the fluxes (m, n) there.

        Without samples to compare at, as for an emission that lacks the
        axis, m is zero.
        """
        if self.compared is None:
            return self._split(emission, training)
        assert self.whole is not None
        values = self.whole.read(emission)
        nodes = values.shape[:-1]
        kept = _at(nodes, self.compared) & ~_at(nodes, self.excluded)
        kept &= ~self.whole.lost(emission)
        return _points(self.whole, nodes)[kept], values[kept]

    def _split(
        self, emission: str, training: TrainingConfig
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the samples that the training holds out."""
        if not isinstance(self.source, GridNodes):
            return self.source.truth(emission, training)
        values = self.source.read(emission)
        emitting = np.argwhere(values.max(axis=-1) > 0)
        _, held_out = split_samples(max(1, len(emitting)), training)
        chosen = emitting[held_out[: len(emitting)]]
        # What was filled can't judge.
        known = ~self.source.lost(emission)
        rows = tuple(chosen[known[tuple(chosen.T)]].T)
        return _points(self.source, values.shape[:-1])[rows], values[rows]


@dataclass(frozen=True)
class Divisions:
    """The division of the trials, and that of the judgement, if any."""

    trials: Division
    judgement: Division | None


@contextmanager
def divided(
    source: SampleSource, validation: str, judge: str | None
) -> Iterator[Divisions]:
    """Divide a training set.

    Args:
        source (SampleSource): The whole training set.
        validation (str): `split` for the samples that each training holds
            out, or nodes to leave out, as in `Drop.parse`.
        judge (str): The nodes to leave out of the tuning, in the same form;
            by default none.

    Yields:
        Divisions: The divisions, with thinned grids in a temporary folder.

    Raises:
        InconsistentArguments: If the grid lacks the nodes, if they are left
            out by both, or if scattered samples should be left out by node.
    """
    by_node = [text for text in (judge, validation) if text and text != SPLIT]
    if not isinstance(source, GridNodes):
        if by_node:
            raise InconsistentArguments(
                "--validation and --judge leave out nodes of a grid, but "
                f"'{source.path.name}' has scattered samples; got "
                f"'{by_node[0]}'. Use --validation split (validation='split'),"
                " and judge with `evaluate` on other samples."
            )
        yield Divisions(Division(source, None, None, {}), None)
        return
    axes = source.header.axes
    left = {text: Drop.parse(text).left_out(axes) for text in by_node}
    judged: Nodes = left[judge] if judge else {}
    with TemporaryDirectory() as folder:
        judgement = None
        if judge:
            thin = _thinned(source, judged, Path(folder) / "judged")
            judgement = Division(thin, source, judged, {})
        if validation == SPLIT:
            rest = judgement.source if judgement else source
            trials = Division(rest, source, None, {})
        else:
            compared = left[validation]
            nodes = source.header.shape
            if not (_at(nodes, compared) & ~_at(nodes, judged)).any():
                raise InconsistentArguments(
                    f"--validation '{validation}' has no nodes besides those "
                    f"of --judge '{judge}'. Leave out others."
                )
            thin = _thinned(
                source, _union(compared, judged), Path(folder) / "trials"
            )
            trials = Division(thin, source, compared, judged)
        yield Divisions(trials, judgement)


def _thinned(source: GridNodes, left_out: Nodes, folder: Path) -> GridNodes:
    """Write a grid without some nodes, and open it for training."""
    folder.mkdir()
    thin = ThinnedGrid.write(source.native, left_out, folder).thin
    # All of the training set but the axes, and what is stored along them.
    header = replace(
        source.header, axes=thin.header.axes, further=thin.header.further
    )
    return replace(
        source, native=thin, header=header.with_stored(thin.header.stored)
    )


def _union(first: Nodes, second: Nodes) -> dict[int, NDArray[np.intp]]:
    """Return the nodes that are in either of two selections."""
    return {
        axis: np.union1d(first.get(axis, []), second.get(axis, [])).astype(
            np.intp
        )
        for axis in {*first, *second}
    }


def _at(shape: tuple[int, ...], nodes: Nodes) -> NDArray[np.bool_]:
    """Return the mask (n1, ..., nk) of nodes with one of the indices."""
    mask = np.zeros(shape, bool)
    for axis, indices in nodes.items():
        if axis < len(shape):
            mask[(slice(None),) * axis + (indices,)] = True
    return mask


def _points(grid: GridNodes, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the axis values (n1, ..., nk, d) of the nodes of an emission.

    An emission may lack the last axes, on which any value will do.
    """
    axes = grid.header.axes
    nodes = [
        axis.values if i < len(shape) else axis.values[:1]
        for i, axis in enumerate(axes)
    ]
    return node_mesh(nodes).reshape(*shape, len(axes))
