"""Libraries of galaxies: priors in, parameters and photometry out.

For whoever wants a million galaxies of an emission model without going
through Synthesizer's pipeline a million times: `Library` from Python,
`read_library` from YAML. `parts` writes and takes up what is made, for other
layouts of the final file, too.
"""

from synthesizer_emulator.library.file import LibraryFile as LibraryFile
from synthesizer_emulator.library.file import merge as merge
from synthesizer_emulator.library.plan import History as History
from synthesizer_emulator.library.plan import Library as Library
from synthesizer_emulator.library.priors import Choice as Choice
from synthesizer_emulator.library.priors import Draws as Draws
from synthesizer_emulator.library.priors import Fixed as Fixed
from synthesizer_emulator.library.priors import LogUniform as LogUniform
from synthesizer_emulator.library.priors import Normal as Normal
from synthesizer_emulator.library.priors import Uniform as Uniform
