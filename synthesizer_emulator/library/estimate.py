"""What making a library takes: time and disk space."""

import time
from dataclasses import dataclass

import jax

from synthesizer_emulator.descriptions import (
    Printed,
    describe_bytes,
    describe_duration,
)
from synthesizer_emulator.galaxies.batches import suitable_batch_size
from synthesizer_emulator.library.library import Library


@dataclass(frozen=True, repr=False)
class Estimate(Printed):
    """What making a library takes on this machine.

    Attributes:
        galaxies (int): The number of galaxies.
        first (float): The time of compilation and the first batch, s.
        batch (float): The time of a further batch, s.
        batches (int): The number of batches.
        bytes_per_galaxy (int): The size of a galaxy in the file, bytes.
    """

    galaxies: int
    first: float
    batch: float
    batches: int
    bytes_per_galaxy: int

    @property
    def seconds(self) -> float:
        """The time of all galaxies, s."""
        return self.first + self.batch * (self.batches - 1)

    @property
    def nbytes(self) -> int:
        """The size of the file, bytes."""
        return self.galaxies * self.bytes_per_galaxy

    def __str__(self) -> str:
        """Return the time and the size."""
        return (
            f"{self.galaxies:,} galaxies take about "
            f"{describe_duration(self.seconds)} on this machine, of which the "
            f"first batch, with compilation, {describe_duration(self.first)}; "
            f"and {describe_bytes(self.nbytes)} of disk, twice that while "
            "the file is written."
        )


def estimate(library: Library) -> Estimate:
    """Make one batch of a library, twice, to estimate what all take.

    Args:
        library (Library): The library.

    Returns:
        Estimate: The time on this machine, and the size of the file.

    Raises:
        InconsistentArguments: As for `Library.check`.
    """
    library.check()
    devices = jax.local_devices()
    size = suitable_batch_size(library.model, devices)
    some = slice(0, min(library.draws.n, size))
    start = time.monotonic()
    library.make(some)
    middle = time.monotonic()
    arrays = library.make(some)
    end = time.monotonic()
    return Estimate(
        galaxies=library.draws.n,
        first=middle - start,
        batch=end - middle,
        batches=-(-library.draws.n // size),
        bytes_per_galaxy=sum(a.nbytes for a in arrays.values()) // some.stop,
    )
