"""The rule for foreign programs itself: found, skipped with the line that installs, or failed."""

import pytest

from tests.programs import ProgramFinder

NO_SUCH_PROGRAM = "chordial-no-such-program"


def test_a_program_that_is_there_is_found() -> None:
    assert ProgramFinder(everything_required=False)("sh", "dash").name == "sh"


def test_a_missing_program_skips_the_test_and_says_how_to_install_it() -> None:
    with pytest.raises(pytest.skip.Exception, match="apt-get install sip-tester"):
        ProgramFinder(everything_required=False)(NO_SUCH_PROGRAM, "sip-tester")


def test_a_missing_program_fails_the_test_where_all_must_run() -> None:
    with pytest.raises(pytest.fail.Exception, match="apt-get install sip-tester"):
        ProgramFinder(everything_required=True)(NO_SUCH_PROGRAM, "sip-tester")


def test_a_missing_python_module_is_told_like_a_program() -> None:
    with pytest.raises(pytest.skip.Exception, match="apt-get install python3-opendht"):
        ProgramFinder(everything_required=False).python_module(
            "chordial_no_such_module", "python3-opendht"
        )
