"""Strings are parsed as units only after a check."""

import time

import numpy as np
import pytest
from astropy import units as u
from synthesizer.exceptions import InconsistentArguments
from unyt import Unit, dimensionless

from synthesizer_emulator.units import in_units, parse_quantity, parse_unit

SPELLED = (
    "erg/s/Hz",
    "erg/s/cm**2/angstrom",
    "1/(cm**2*s)",
    "10**-20*erg/s",
    "1e-3*m",
    "m**(1/2)",
    "g**0.5",
    "km/s/Mpc",
    "Å",
    "μm",
    "%",
    "°",
    "Msun/yr",
    "dimensionless",
)

# None of these may be evaluated.
NO_UNITS = (
    "__import__('pathlib').Path('{touched}').touch()",
    "m*__import__('pathlib').Path('{touched}').touch()",
    "log10(__import__('pathlib').Path('{touched}').touch())",
    "(lambda: open('{touched}', 'w'))()",
    "[open('{touched}', 'w') for _ in (1,)]",
    "m if open('{touched}', 'w') else s",
    "Symbol('m')",
    "sqrt",
    "m.registry",
    "m(s)",
    "m + m",
    "-m",
    "m**s",
    "m/0",
    "10**10**10",
    "(10**9)**(10**9)",
    "((m**9)**9)**9",
    "m**(2**9)",
    "m**-33",
    "m**1e400",
    "1e999*m",
    "log10(log10(m))",
    "log10",
    "m\0",
    "m\nimport os",
    "(" * 100,
    "9" * 500,
    "m*" * 1000 + "m",
    "parsnips",
)


@pytest.mark.parametrize("text", SPELLED)
def test_units_are_those_of_unyt(text):
    assert parse_unit(text) == Unit(text)
    assert parse_unit(text).base_value == Unit(text).base_value


@pytest.mark.parametrize("text", ["", "None", "log10(yr)", "log10(Msun/yr)"])
def test_dimensionless_units(text):
    assert parse_unit(text) == dimensionless


@pytest.mark.parametrize("text", NO_UNITS)
def test_no_text_is_evaluated(text, tmp_path):
    touched = tmp_path / "touched"
    start = time.process_time()
    with pytest.raises(InconsistentArguments, match="is not a valid unit"):
        parse_unit(text.format(touched=touched) if "{" in text else text)
    assert time.process_time() - start < 1
    assert not touched.exists()


@pytest.mark.parametrize("given", [5, None, b"m", ["m"], float("nan")])
def test_units_are_a_text(given):
    with pytest.raises(InconsistentArguments, match="must be a string"):
        parse_unit(given)


def test_quantities():
    assert parse_quantity("5 Gyr") == 5 * Unit("Gyr")
    assert parse_quantity("-1.5e3 erg / s") == -1500 * Unit("erg/s")


@pytest.mark.parametrize("text", ["Gyr", "nan Gyr", "1e999 Gyr", "", "5,5 K"])
def test_invalid_quantities_are_refused(text):
    with pytest.raises(
        InconsistentArguments, match=r"must be a number|is not a valid unit"
    ):
        parse_quantity(text)


def test_astropy_units_keep_their_scale():
    flux = [1.0, 2.0] * u.Unit("1e-17 erg / (s cm2)")
    found = in_units("fluxes", flux, "erg/s/cm**2")
    np.testing.assert_allclose(found, [1e-17, 2e-17])
    assert in_units("age", 2.0 * u.Gyr, "Myr") == 2000.0
