"""docs/keras.md says what is there of Keras, and is fresh."""

import pytest

from tests.support.docs import DOCS, script


@pytest.fixture(scope="module")
def table():
    return script("keras_names")


def test_the_page_is_fresh(table):
    assert (DOCS / "keras.md").read_text() == table.page(), "run: python docs/keras_names.py"


def test_nearly_all_names_that_programs_use_are_there(table):
    assert table.share_there(1) >= 0.98
    assert table.share_there(2) >= 0.95


def test_a_reason_is_given_only_for_what_is_not_there(table):
    named = [key.rpartition(".") for key in table.REASONS if key not in table.areas()]
    assert [f"{area}.{name}" for area, _, name in named if table.is_there(area, name)] == []
