"""What an account spends, day by day."""

from __future__ import annotations

from sqlalchemy import BigInteger, Connection, cast, func, select

from phaya.clock import DAY
from phaya.credits import Credits
from phaya.ledger import OF_JOBS
from phaya.schema import entries, jobs


def by_day(connection: Connection, account_id: str, since: int) -> list[tuple[int, str, Credits]]:
    """What each service cost on each day (counted from 1970, UTC), less what was returned on it, from `since` on.

    A return that falls on a later day than its charge can make a day negative.
    """
    day = cast((entries.c.created_at - entries.c.created_at % DAY) / DAY, BigInteger)
    rows = connection.execute(
        select(day.label("day"), jobs.c.service, func.sum(entries.c.amount).label("total"))
        .join(jobs, jobs.c.id == entries.c.job_id)
        .where(entries.c.account_id == account_id, entries.c.created_at >= since, entries.c.reason.in_(OF_JOBS))
        .group_by(day, jobs.c.service)
        .order_by(day, jobs.c.service)
    )
    return [(int(row.day), row.service, Credits(-int(row.total))) for row in rows]
