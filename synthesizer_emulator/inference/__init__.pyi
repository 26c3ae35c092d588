from .spectrograph import Spectrograph as Spectrograph
from .spectrum import Spectrum as Spectrum
