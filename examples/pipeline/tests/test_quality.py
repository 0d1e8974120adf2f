"""The task that checks rules, and an example of a test for your own rule."""

import pytest
from databases import Database

from my_data_project.common import errors, rules
from my_data_project.common.table import Table
from my_data_project.tasks import quality

OWN = rules.Sql(name="it arrives after it departs", condition="arrived >= departed")


@pytest.fixture
def flights(warehouse: Database) -> None:
    """Provide a warehouse with a table of two flights, one of which violates the rule."""
    warehouse("CREATE SCHEMA raw")
    warehouse("CREATE TABLE raw.flights (departed BIGINT, arrived BIGINT)")
    warehouse("INSERT INTO raw.flights VALUES (900, 1000), (900, 800)")


@pytest.mark.usefixtures("flights")
def test_a_broken_rule_fails_the_task_or_warns() -> None:
    with pytest.raises(errors.PermanentError, match="it arrives after it departs: 1"):
        quality.check_quality.fn(Table(name="flights", rules=(OWN,)))
    warning = rules.Sql(name=OWN.name, condition=OWN.condition, severity="warn")
    (finding,) = quality.check_quality.fn(Table(name="flights", rules=(warning,)))
    assert (finding.status, finding.violations) == ("warn", 1)
