import pytest
from synthesizer.exceptions import InconsistentArguments

from synthesizer_emulator.validation import check_choice, check_keys, nearest

NAMES = ("incident", "transmitted", "nebular", "nebular_continuum")


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("incidnet", "incident"),
        ("Incident", "incident"),
        ("NEBULAR", "nebular"),
        ("nebular continuum", "nebular_continuum"),
        ("transmited", "transmitted"),
    ],
)
def test_typos_get_a_suggestion(typo, meant):
    assert nearest(typo, NAMES) == f" Did you mean '{meant}'?"
    with pytest.raises(InconsistentArguments, match=f"mean '{meant}'"):
        check_choice("spectrum", typo, NAMES)
    with pytest.raises(InconsistentArguments, match=f"mean '{meant}'"):
        check_keys("the file", {typo: 1}, (), NAMES)


@pytest.mark.parametrize("name", ["", "xyz", 3, None, 1.5])
def test_unlike_names_get_no_suggestion(name):
    assert nearest(name, NAMES) == nearest(name, ()) == ""
