"""PostgreSQL and Redis as the generated project's own tests start them; prints their URLs and process ids as JSON.

Run with the interpreter of a generated project and its folder as argument; ends when its standard input does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(sys.argv[1]) / "tests"))
import redis
import sqlalchemy as sa
from engines import running_services

with running_services() as (database_url, redis_url):
    engine = sa.create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        folder = connection.scalar(sa.text("SHOW data_directory"))
    engine.dispose()
    pids = {
        "postgres": int(Path(folder, "postmaster.pid").read_text().split()[0]),
        "redis": redis.Redis.from_url(redis_url).info()["process_id"],
    }
    url = database_url.replace("postgresql://", "postgresql+psycopg://").replace("psycopg+psycopg", "psycopg")
    sys.stdout.write(json.dumps({"database": url, "redis": redis_url, "pids": pids}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
