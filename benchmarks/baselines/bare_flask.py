"""A bare Flask sign-in page and chat page: the same HTML, one query, nothing that protects or observes. Frozen.

The database is made at the start: 50 messages, answers with their HTML beside them.
"""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path
from tempfile import mkdtemp

from flask import Flask, render_template

app = Flask(__name__)
FILE = Path(mkdtemp(prefix="bench-bare-")) / "bare.db"

with sqlite3.connect(FILE) as setup:
    setup.execute("CREATE TABLE messages (id TEXT PRIMARY KEY, role TEXT, text TEXT, html TEXT)")
    for number in range(50):
        role = "assistant" if number % 2 else "user"
        text = f"{role} {number // 2}"
        setup.execute("INSERT INTO messages VALUES (?, ?, ?, ?)", (str(uuid.uuid4()), role, text, f"<p>{text}</p>"))
setup.close()


@app.get("/login")
def login() -> str:
    return render_template("login.html", name="Chat Assistant")


@app.get("/chat")
def chat() -> str:
    with sqlite3.connect(FILE) as connection:
        messages = connection.execute("SELECT id, role, text, html FROM messages ORDER BY rowid").fetchall()
    connection.close()
    return render_template("chat.html", name="Chat Assistant", title="Long", email="ada@example.com", messages=messages)
