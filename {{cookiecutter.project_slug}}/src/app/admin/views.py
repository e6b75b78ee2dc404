"""What people do with the chat, drawn on the server: charts with the tables they come from."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from app.admin.activity import DAY, DAYS, WEEK, WEEKS, monday
from app.admin.models import DailyActivity, WeeklyRetention
from app.database import db, now
from app.security.access import ADMIN, Route

bp = Blueprint("admin", __name__, url_prefix="/admin")
ACCESS = (Route("admin.activity", "GET", ADMIN),)


@bp.get("/activity")
def activity() -> ResponseReturnValue:
    today = now().date()
    first = today - (DAYS - 1) * DAY
    counted = {row.day: row for row in db.session.scalars(select(DailyActivity).where(DailyActivity.day >= first))}
    days = [first + number * DAY for number in range(DAYS)]
    cohorts = [monday(today) - number * WEEK for number in range(WEEKS)]
    query = select(WeeklyRetention).where(WeeklyRetention.cohort >= cohorts[-1])
    retention = {(row.cohort, row.week): row for row in db.session.scalars(query)}
    return render_template(
        "admin/activity.html",
        days=days,
        counted=counted,
        cohorts=cohorts,
        retention=retention,
        step=WEEK,
    )
