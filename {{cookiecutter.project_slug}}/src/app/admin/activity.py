"""What people do with the chat: rolled up into daily and weekly figures, so that no page counts messages, and shown as
charts drawn on the server, with the tables they come from.

Ids are ordered by creation, so a span of time is a range of the primary key. Days and weeks that are over for long
stay as they were counted: what is deleted later does not change them. No row says anything about a person.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, cast

from flask import Blueprint, render_template
from sqlalchemy import BigInteger, ColumnElement, Numeric, case, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app import jobs
from app.accounts.models import User
from app.chat.models import Conversation, Feedback, Run, RunStatus
from app.config import settings
from app.database import Model, db, id_at, now, reading, transaction

DAYS, WEEKS = 90, 12
FAILED = (RunStatus.ERROR, RunStatus.INTERRUPTED)
DAY, WEEK = timedelta(days=1), timedelta(days=7)


class DailyActivity(Model):
    """What happened on a day, in UTC; ``errors`` are answers that failed or were cut off."""

    __tablename__ = "daily_activity"

    day: Mapped[date] = mapped_column(primary_key=True)
    active_users: Mapped[int] = mapped_column(default=0)
    new_users: Mapped[int] = mapped_column(default=0)
    conversations: Mapped[int] = mapped_column(default=0)
    answers: Mapped[int] = mapped_column(default=0)
    errors: Mapped[int] = mapped_column(default=0)
    input_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    output_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    cost: Mapped[Decimal] = mapped_column(Numeric(14, 6), default=Decimal(0))
    liked: Mapped[int] = mapped_column(default=0)
    disliked: Mapped[int] = mapped_column(default=0)


class WeeklyRetention(Model):
    """How many of those who signed up in the week of *cohort* were active in *week*, both Mondays."""

    __tablename__ = "weekly_retention"

    cohort: Mapped[date] = mapped_column(primary_key=True)
    week: Mapped[date] = mapped_column(primary_key=True)
    signed_up: Mapped[int]
    active: Mapped[int]


def created(id_column: Any, start: date, span: timedelta) -> ColumnElement[bool]:
    """Whether a row was created within *span* from *start*, in UTC."""
    return cast("ColumnElement[bool]", id_column.between(id_at(start), id_at(start + span)))


def monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _times(condition: ColumnElement[bool]) -> Any:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def count_day(session: Session, day: date) -> DailyActivity:
    """The figures of one day, from the rows created on it."""

    def of(model: Any, key: Any, *figures: Any) -> Any:
        return session.execute(select(*figures).select_from(model).where(created(key, day, DAY))).one()

    outcomes = _times(Run.status == RunStatus.DONE), _times(Run.status.in_(FAILED))
    sums = (func.coalesce(func.sum(column), 0) for column in (Run.input_tokens, Run.output_tokens, Run.cost))
    runs = of(Run, Run.id, func.count(Run.user_id.distinct()), *outcomes, *sums)
    votes = of(Feedback, Feedback.message_id, _times(Feedback.rating > 0), _times(Feedback.rating < 0))
    names = ("active_users", "answers", "errors", "input_tokens", "output_tokens", "cost", "liked", "disliked")
    new = {"new_users": of(User, User.id, func.count())[0]}
    new |= {"conversations": of(Conversation, Conversation.id, func.count())[0]}
    return DailyActivity(day=day, **new, **dict(zip(names, (*runs, *votes), strict=True)))


def count_weeks(session: Session, week: date) -> Iterator[WeeklyRetention]:
    """How many of each cohort were active in one week."""
    for cohort in (week - number * WEEK for number in range(WEEKS)):
        signed_up = session.scalar(select(func.count()).where(created(User.id, cohort, WEEK))) or 0
        query = select(func.count(Run.user_id.distinct())).where(created(Run.user_id, cohort, WEEK))
        active = session.scalar(query.where(created(Run.id, week, WEEK))) or 0
        yield WeeklyRetention(cohort=cohort, week=week, signed_up=signed_up, active=active)


@jobs.periodic(every=timedelta(hours=1))
def roll_up() -> None:
    """Count what is not counted yet, and once more what may still change: the last two days and weeks."""
    if not settings().analytics:
        return
    today = now().date()
    with reading() as session:
        days = set(session.scalars(select(DailyActivity.day)))
        weeks = set(session.scalars(select(WeeklyRetention.week)))
        recent = (today - number * DAY for number in range(DAYS))
        changed = (day for day in recent if day not in days or today - day <= DAY)
        new: list[DailyActivity | WeeklyRetention] = [count_day(session, day) for day in changed]
        for week in (monday(today) - number * WEEK for number in range(WEEKS)):
            if week not in weeks or today - week < 2 * WEEK:
                new += count_weeks(session, week)
    with transaction() as session:
        for row in new:
            session.merge(row)


bp = Blueprint("admin", __name__, url_prefix="/admin")


@bp.get("/readiness")
def readiness() -> str:
    """What ``flask ready`` has found last."""
    return render_template("admin/readiness.html", found=jobs.queue().get("ready", peek=True))


@bp.get("/activity")
def activity() -> str:
    today = now().date()
    first = today - (DAYS - 1) * DAY
    counted = {row.day: row for row in db.session.scalars(select(DailyActivity).where(DailyActivity.day >= first))}
    days = [first + number * DAY for number in range(DAYS)]
    cohorts = [monday(today) - number * WEEK for number in range(WEEKS)]
    query = select(WeeklyRetention).where(WeeklyRetention.cohort >= cohorts[-1])
    retention = {(row.cohort, row.week): row for row in db.session.scalars(query)}
    by_week = {"cohorts": cohorts, "retention": retention, "step": WEEK}
    return render_template("admin/activity.html", days=days, counted=counted, **by_week)
