"""Indexes by which clean-up finds what has expired, and by which the rows that refer to it are found."""

from __future__ import annotations

from alembic import op

revision = "1795416552"
down_revision = "1795415000"
branch_labels = ()
depends_on = None

INDEXES = (
    ("conversations", "updated_at"),
    ("runs", "conversation_id"),
    ("runs", "finished_at"),
    ("approvals", "decided_by"),
)


def upgrade() -> None:
    for table, column in INDEXES:
        op.create_index(f"ix_{table}_{column}", table, [column])


def downgrade() -> None:
    for table, column in INDEXES:
        op.drop_index(f"ix_{table}_{column}", table)
