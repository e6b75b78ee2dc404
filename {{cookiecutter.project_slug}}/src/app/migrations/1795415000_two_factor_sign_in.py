"""two-factor sign-in"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1795415000"
down_revision = "1795414570"
branch_labels = ()
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.add_column(sa.Column("tf_primary_method", sa.String(length=20), nullable=True))
        batch_op.add_column(sa.Column("tf_totp_secret", sa.String(length=500), nullable=True))
        batch_op.add_column(sa.Column("tf_last_counter", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("mf_recovery_codes", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.drop_column("mf_recovery_codes")
        batch_op.drop_column("tf_last_counter")
        batch_op.drop_column("tf_totp_secret")
        batch_op.drop_column("tf_primary_method")
