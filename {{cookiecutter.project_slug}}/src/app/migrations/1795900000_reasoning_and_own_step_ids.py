"""reasoning of answers, steps by response"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1795900000"
down_revision = "1795660000"
branch_labels = ()
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("reasoning", sa.Text(), nullable=True))
    with op.batch_alter_table("tool_calls", schema=None) as batch_op:
        batch_op.add_column(sa.Column("response", sa.Integer(), server_default="0", nullable=False))
        # A provider's id of a call may carry a signature of any length.
        batch_op.alter_column("call_id", existing_type=sa.String(120), type_=sa.Text(), existing_nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("tool_calls", schema=None) as batch_op:
        batch_op.alter_column("call_id", existing_type=sa.Text(), type_=sa.String(120), existing_nullable=False)
        batch_op.drop_column("response")
    op.drop_column("messages", "reasoning")
