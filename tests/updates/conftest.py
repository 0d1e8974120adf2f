"""Fixtures of the update tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from updating import TemplateRepository, isolation

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def _own_git(_isolated: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep git and Copier of the person who runs the tests out of them, too.

    Not `_isolated`: that name would replace the fixture of all tests, and what it makes quick.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in isolation(tmp_path_factory.mktemp("isolated")).items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def template_repository(
    _own_git: None, tmp_path_factory: pytest.TempPathFactory
) -> TemplateRepository:
    """The template with all its releases; shared, and only ever added to."""
    return TemplateRepository(tmp_path_factory.mktemp("template-repository"))
