"""search newest first"""

from __future__ import annotations

from alembic import op

revision = "1795660000"
down_revision = "1795421000"
branch_labels = ()
depends_on = None


# A search looks through one's own messages, the newest first. An index of everybody's words costs more than that as
# soon as the words are frequent, and every new message pays for it.
BEFORE = {
    "ix_message_search_user_id": "(user_id)",
    "ix_message_search_document": "USING gin (document)",
}


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE INDEX ix_message_search_newest ON message_search (user_id, message_id)")
        for name in BEFORE:
            op.execute(f"DROP INDEX {name}")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for name, columns in BEFORE.items():
            op.execute(f"CREATE INDEX {name} ON message_search {columns}")
        op.execute("DROP INDEX ix_message_search_newest")
