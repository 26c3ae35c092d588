"""Strings are parsed as units only after a check."""

import time

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Column, MaskedColumn
from astropy.utils.masked import Masked
from synthesizer.exceptions import InconsistentArguments, IncorrectUnits
from unyt import Unit, dimensionless, unyt_array

from synthesizer_emulator.units import (
    in_units,
    is_masked,
    parse_quantity,
    parse_unit,
)

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
    "Msun/myr",
    "log10(myr)",
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


@pytest.mark.parametrize(
    "values",
    [
        np.ma.masked_array([1, 2], [True, False]),
        [np.ma.masked, 2.0],
        np.ma.masked_array([1e-9, 2e-9] * u.Jy, [True, False]),
        np.ma.masked_array(unyt_array([1e-9, 2e-9], "Jy"), [True, False]),
        Masked([1e-6, 2e-6] * u.mJy, mask=[True, False]),
        MaskedColumn([1e-6, 2e-6], mask=[True, False], unit="mJy"),
    ],
)
def test_masked_numbers_are_missing_and_keep_their_units(values):
    found = np.asarray(in_units("fluxes", values, "nJy"), np.float64)
    np.testing.assert_allclose(found, [np.nan, 2.0])
    assert is_masked(values).tolist() == [True, False]


def test_columns_and_masks_of_nothing_have_units():
    for values in (
        Column([1, 2], unit="uJy"),
        MaskedColumn([1, 2], mask=False, unit="uJy"),
        np.ma.masked_array([1, 2] * u.uJy),
    ):
        found = in_units("fluxes", values, "nJy")
        np.testing.assert_allclose(found, [1000.0, 2000.0])


def test_units_that_only_astropy_has():
    zero = in_units("flux", 2.0 * u.AB, "nJy")
    np.testing.assert_allclose(zero, 2e9 * 3630.7805)
    with pytest.raises(IncorrectUnits, match=r"got nmgy.*one is 3631 Jy"):
        in_units("flux", 2.0 * u.Unit("nmgy"), "nJy")
