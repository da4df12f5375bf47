"""How the database finds jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event

from app.core.database import Database, now
from app.core.security import Principal, Scope
from app.jobs.repository import Filters, JobRepository
from app.jobs.sorting import Place, Sort
from app.models.states import State

PRINCIPAL = Principal("default", None, frozenset(Scope))


@pytest.mark.parametrize("sort", [Sort(), Sort(descending=False)])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("filters", [Filters(), Filters(method="dm"), Filters(status=(State.FAILED,))])
def test_pages_are_read_in_the_order_of_an_index(
    database: Database, add_job: Callable[..., str], filters: Filters, deep: bool, sort: Sort
) -> None:
    """No page sorts the table, however many jobs there are: EXPLAIN of the very statement that runs."""
    add_job()
    seen: list[tuple[str, Any]] = []

    def remember(_connection: Connection, _cursor: object, statement: str, values: Any, *_: object) -> None:
        if statement.startswith("SELECT jobs."):
            seen.append((statement, values))

    event.listen(database.engine, "before_cursor_execute", remember)
    with database.read() as session:
        as_of = now(session)
        after = Place(int(as_of.timestamp() * 1000), "job_0", as_of) if deep else None
        JobRepository(session, PRINCIPAL).page(filters, sort, after, as_of, 20)
        (statement, values), _rows_by_id = seen
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    steps = " ".join(str(row) for row in plan)
    assert "USING INDEX ix_jobs_" in steps
    assert "TEMP B-TREE" not in steps
