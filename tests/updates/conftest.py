"""Fixtures of the update tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from updating import TemplateRepository, isolation

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def _own_git(_isolated: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's settings of git and Copier out of the tests.

    Not named `_isolated`: that would replace the fixture of all tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in isolation(tmp_path_factory.mktemp("isolated")).items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def template_repository(
    _own_git: None, tmp_path_factory: pytest.TempPathFactory
) -> TemplateRepository:
    """The template with all its releases; shared, so tests only add releases."""
    return TemplateRepository(tmp_path_factory.mktemp("template-repository"))
