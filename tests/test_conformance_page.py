"""The conformance page is made from the tests, and is up to date."""

from tests.conformance_page import PAGE, lines, page


def test_the_conformance_page_is_what_the_tests_say() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_the_page_names_the_rfcs_that_the_overlay_and_sip_are_built_on() -> None:
    assert {6940, 3261, 6026, 3581} <= {line[0] for line in lines()}
