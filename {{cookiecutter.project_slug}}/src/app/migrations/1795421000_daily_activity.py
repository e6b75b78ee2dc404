"""daily activity"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1795421000"
down_revision = "1795420000"
branch_labels = ()
depends_on = None

COUNTS = (
    "active_users", "new_users", "conversations", "answers", "errors", "input_tokens", "output_tokens", "liked",
    "disliked",
)  # fmt: skip


def upgrade() -> None:
    op.create_table(
        "daily_activity",
        sa.Column("day", sa.Date(), nullable=False),
        *(sa.Column(name, sa.BigInteger() if "tokens" in name else sa.Integer(), nullable=False) for name in COUNTS),
        sa.Column("cost", sa.Numeric(precision=14, scale=6), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_daily_activity")),
    )
    op.create_table(
        "weekly_retention",
        sa.Column("cohort", sa.Date(), nullable=False),
        sa.Column("week", sa.Date(), nullable=False),
        sa.Column("signed_up", sa.Integer(), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("cohort", "week", name=op.f("pk_weekly_retention")),
    )


def downgrade() -> None:
    op.drop_table("weekly_retention")
    op.drop_table("daily_activity")
