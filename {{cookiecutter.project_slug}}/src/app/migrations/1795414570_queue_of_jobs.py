"""The tables in which Huey keeps jobs on PostgreSQL; SQLite has a file of its own for them."""

import sqlalchemy as sa
from alembic import op

revision = "1795414570"
down_revision = "1795408285"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.create_table(
        "huey_kv",
        sa.Column("queue", sa.Text(), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("value", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "huey_counter",
        sa.Column("queue", sa.Text(), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("value", sa.BigInteger(), nullable=False, server_default="0"),
    )
    op.create_table(
        "huey_task",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("priority", sa.Double(), nullable=False, server_default="0"),
    )
    op.create_index("huey_task_queue_priority_id", "huey_task", ["queue", sa.text("priority DESC"), "id"])
    op.create_table(
        "huey_schedule",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("timestamp", sa.Double(), nullable=False),
    )
    op.create_index("huey_schedule_queue_timestamp", "huey_schedule", ["queue", "timestamp"])


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for name in ("huey_schedule", "huey_task", "huey_counter", "huey_kv"):
            op.drop_table(name)
