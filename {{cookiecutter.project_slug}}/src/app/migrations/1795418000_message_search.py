"""The full-text index of questions and finished answers; triggers keep it, whoever writes."""

from __future__ import annotations

from alembic import op

revision = "1795418000"
down_revision = "1795416552"
branch_labels = ()
depends_on = None

# The ids are indexed as words: a row is found by its message without a table scan, and a search by its user.
SQLITE = (
    "CREATE VIRTUAL TABLE message_search USING fts5(message_id, user_id, text, tokenize='unicode61')",
    (
        "CREATE TRIGGER message_search_asked AFTER INSERT ON messages WHEN new.text <> '' BEGIN"
        " INSERT INTO message_search VALUES (new.id, new.user_id, new.text); END"
    ),
    (
        "CREATE TRIGGER message_search_answered AFTER UPDATE OF status ON runs"
        " WHEN new.status NOT IN ('running', 'waiting') BEGIN"
        """ DELETE FROM message_search WHERE message_search MATCH 'message_id:"' || new.answer_id || '"';"""
        " INSERT INTO message_search SELECT id, user_id, text FROM messages"
        " WHERE id = new.answer_id AND text <> ''; END"
    ),
    (
        "CREATE TRIGGER message_search_deleted AFTER DELETE ON messages BEGIN"
        """ DELETE FROM message_search WHERE message_search MATCH 'message_id:"' || old.id || '"'; END"""
    ),
    "INSERT INTO message_search SELECT id, user_id, text FROM messages WHERE text <> ''",
)
# A tsvector holds at most a megabyte; a longer text would make the answer's own row fail.
INSERT = "INSERT INTO message_search SELECT id, user_id, to_tsvector('simple', left(text, 200000)) FROM messages"
POSTGRESQL = (
    (
        "CREATE TABLE message_search (message_id uuid PRIMARY KEY REFERENCES messages ON DELETE CASCADE,"
        " user_id uuid NOT NULL, document tsvector NOT NULL)"
    ),
    "CREATE INDEX ix_message_search_document ON message_search USING gin (document)",
    "CREATE INDEX ix_message_search_user_id ON message_search (user_id)",
    (
        "CREATE FUNCTION message_search_asked() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" {INSERT} WHERE id = new.id; RETURN NULL; END $$"
    ),
    (
        "CREATE FUNCTION message_search_answered() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" {INSERT} WHERE id = new.answer_id ON CONFLICT (message_id) DO UPDATE SET document = excluded.document;"
        " RETURN NULL; END $$"
    ),
    (
        "CREATE TRIGGER message_search_asked AFTER INSERT ON messages FOR EACH ROW WHEN (new.text <> '')"
        " EXECUTE FUNCTION message_search_asked()"
    ),
    (
        "CREATE TRIGGER message_search_answered AFTER UPDATE OF status ON runs FOR EACH ROW"
        " WHEN (new.status NOT IN ('running', 'waiting')) EXECUTE FUNCTION message_search_answered()"
    ),
    f"{INSERT} WHERE text <> ''",
)
TRIGGERS = {"message_search_asked": "messages", "message_search_answered": "runs", "message_search_deleted": "messages"}


def upgrade() -> None:
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    for trigger, table in TRIGGERS.items():
        op.execute(f"DROP TRIGGER IF EXISTS {trigger}" + ("" if sqlite else f" ON {table}"))
    op.execute("DROP TABLE message_search")
    if not sqlite:
        op.execute("DROP FUNCTION message_search_asked()")
        op.execute("DROP FUNCTION message_search_answered()")
