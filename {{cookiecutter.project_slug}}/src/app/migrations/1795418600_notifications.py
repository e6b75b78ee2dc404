"""notifications"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app import database

revision = "1795418600"
down_revision = "1795418000"
branch_labels = ()
depends_on = None


def upgrade() -> None:
    op.create_table(
        "push_subscriptions",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint", sa.String(length=1000), nullable=False),
        sa.Column("p256dh", sa.String(length=100), nullable=False),
        sa.Column("auth", sa.String(length=40), nullable=False),
        sa.Column("with_title", sa.Boolean(), nullable=False),
        sa.Column("created_at", database.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["user_sessions.id"],
            name=op.f("fk_push_subscriptions_session_id_user_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_push_subscriptions")),
    )
    with op.batch_alter_table("users") as batch:
        batch.add_column(sa.Column("notify", sa.Boolean(), server_default=sa.false(), nullable=False))
    with op.batch_alter_table("runs") as batch:
        batch.add_column(sa.Column("seen_at", database.UTCDateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("runs") as batch:
        batch.drop_column("seen_at")
    with op.batch_alter_table("users") as batch:
        batch.drop_column("notify")
    op.drop_table("push_subscriptions")
