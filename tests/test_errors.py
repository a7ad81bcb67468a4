from __future__ import annotations

import pytest

from instil import errors
from instil.errors import DataError, InstilError


def test_an_error_is_one_line_with_its_remedy():
    error = DataError("row 3 of\n a.jsonl has no 'targets'", remedy="Name the column\nwith --map")
    assert str(error) == "row 3 of a.jsonl has no 'targets'. Name the column with --map."


def test_an_error_without_remedy_ends_in_one_stop():
    assert str(InstilError("nothing to do")) == "nothing to do."


def test_an_error_that_asks_needs_no_stop():
    assert str(InstilError("no 'stpes': did you mean 'steps'?", remedy="Correct it")).endswith("'steps'? Correct it.")
    assert str(InstilError("no task 'colt'", remedy="Did you mean 'cold'?")) == "no task 'colt'. Did you mean 'cold'?"


@pytest.mark.parametrize("name", ["RecipeError", "DataError", "TemplateError", "ModelError", "RunError"])
def test_every_error_of_a_person_exits_with_2(name: str):
    kind = getattr(errors, name)
    assert issubclass(kind, InstilError)
    assert kind("x").exit_code == 2
