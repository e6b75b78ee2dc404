"""Activity, counted: no row says anything about a person."""

from datetime import date
from decimal import Decimal

from sqlalchemy import BigInteger, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Model


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
