"""spans of runs"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1795420000"
down_revision = "1795418900"
branch_labels = ()
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("span_id", sa.String(length=16), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("span_id")
