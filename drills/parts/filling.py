"""Ten thousand users with a million messages of 90 days, made by PostgreSQL itself."""

from __future__ import annotations

import uuid

import psycopg

BUSY = uuid.UUID("01900000-0000-7000-a000-000000000000")  # who has 1,000 conversations, one of 500 messages
USERS, TALKS, LENGTH, BUSY_TALKS, LONG = 10_000, 48_976, 20, 1_000, 500

# An id as the application makes them: version 7, in the order of creation; the same for the same moment and number.
ID = """
CREATE FUNCTION id7(at timestamp, number bigint) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$
  SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000' || 'a000'
    || lpad(to_hex(number), 12, '0'))::uuid
$$"""
NOW = "date_trunc('minute', now() AT TIME ZONE 'utc')"
# When the n-th of TALKS began, and whose it is.
TALK = f"""
CREATE TEMP TABLE talk AS
SELECT n, {NOW} - interval '90 days' * (1 - n / {TALKS + BUSY_TALKS}.0) - interval '2 hours' AS at,
  CASE WHEN n % 24 = 0 AND n / 24 < {BUSY_TALKS} THEN 0 ELSE 1 + n * 7919 % {USERS - 1} END AS person,
  CASE WHEN n = {24 * (BUSY_TALKS - 1)} THEN {LONG} ELSE {LENGTH} END AS length
FROM generate_series(0, {TALKS + BUSY_TALKS - 1}) n"""
WORDS = "'{bread,water,salt,flour,oven,dough,yeast,knead,wait,bake,slice,butter,crust,crumb,rye,spelt}'::text[]"
TEXT = f"""(SELECT string_agg(({WORDS})[1 + (hashint8(t.n * 1000 + i + w * 7) & 15)], ' ')
    FROM generate_series(1, 30) w)
  || CASE WHEN (t.n + i) % 100000 = 7 OR t.length = {LONG} AND i = 9 THEN ' needle' ELSE '' END"""
FILL = (
    ID,
    TALK,
    # Row by row the triggers and the checks of foreign keys would take an hour.
    "SET session_replication_role = replica",
    f"""INSERT INTO users (id, created_at, email, password, active, is_admin, fs_uniquifier, confirmed_at)
    SELECT CASE WHEN n = 0 THEN '{BUSY}' ELSE id7({NOW} - interval '90 days' * (1 - n / {USERS}.0), n) END,
      {NOW}, 'person-' || n || '@example.com', '-', true, false, md5(n::text), {NOW}
    FROM generate_series(0, {USERS - 1}) n""",
    f"""CREATE TEMP TABLE person AS SELECT n, CASE WHEN n = 0 THEN '{BUSY}'
      ELSE id7({NOW} - interval '90 days' * (1 - n / {USERS}.0), n) END AS id FROM generate_series(0, {USERS - 1}) n""",
    f"""INSERT INTO conversations (id, created_at, user_id, title, head_id, updated_at)
    SELECT id7(t.at, t.n), t.at, p.id, CASE WHEN t.length = {LONG} THEN 'The long one' ELSE 'Talk ' || t.n END,
      id7(t.at + interval '1 second' * t.length, t.n), t.at + interval '1 second' * t.length
    FROM talk t JOIN person p ON p.n = t.person""",
    f"""INSERT INTO messages (id, created_at, user_id, conversation_id, parent_id, role, text, event_number)
    SELECT id7(t.at + interval '1 second' * i, t.n), t.at + interval '1 second' * i, p.id, id7(t.at, t.n),
      CASE WHEN i > 1 THEN id7(t.at + interval '1 second' * (i - 1), t.n) END,
      CASE WHEN i % 2 = 1 THEN 'user' ELSE 'assistant' END, {TEXT}, 0
    FROM talk t JOIN person p ON p.n = t.person CROSS JOIN LATERAL generate_series(1, t.length) i""",
    """INSERT INTO runs (id, user_id, conversation_id, answer_id, status, worker, heartbeat_at, started_at, finished_at,
      model, input_tokens, output_tokens, cost)
    SELECT m.id, m.user_id, m.conversation_id, m.id,
      CASE WHEN hashtext(m.id::text) % 50 = 0 THEN 'error' ELSE 'done' END, 'a/1/b',
      m.created_at, m.created_at, m.created_at + interval '3 seconds', 'demo', 400, 200, 0.0012
    FROM messages m WHERE m.role = 'assistant'""",
    """INSERT INTO feedback (message_id, created_at, rating) SELECT id, created_at, 1 FROM messages
    WHERE role = 'assistant' AND hashtext(id::text) % 40 = 0""",
    """INSERT INTO message_search SELECT id, user_id, to_tsvector('simple', left(text, 200000)) FROM messages""",
    "SET session_replication_role = DEFAULT",
    "VACUUM ANALYZE",
)


def fill(database: psycopg.Connection) -> None:
    """The schema is there, the tables are empty."""
    database.execute("SET TimeZone = 'UTC'")
    for statement in FILL:
        database.execute(statement)
