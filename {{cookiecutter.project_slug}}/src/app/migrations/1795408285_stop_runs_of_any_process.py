"""stop runs of any process"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1795408285"
down_revision = "1795403599"
branch_labels = ()
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("stop_requested", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("stop_requested")
