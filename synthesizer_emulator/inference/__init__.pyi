from .fit import Fit as Fit
from .photometry import Photometry as Photometry
from .plots import plot_corner as plot_corner
from .plots import plot_photometry as plot_photometry
from .posterior import Posterior as Posterior
from .spectrograph import Spectrograph as Spectrograph
from .spectrum import Spectrum as Spectrum
