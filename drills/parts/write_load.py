"""People and writers who change a database while it is backed up, and what has to hold in what is restored."""

from __future__ import annotations

import sys
import threading
import time
import uuid

import lab
import restoring

PEOPLE, WRITERS = 2, 2


def copy(engine: restoring.Engine, table: str, changes: dict[str, str], rest: str) -> str:
    """A statement that copies rows of a table with other values in some columns."""
    columns = engine.columns(table)
    values = ", ".join(changes.get(column, f"t.{column}") for column in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} t {rest}"


def grow(engine: restoring.Engine, rows: int) -> None:
    """Many more answers, of a kilobyte each, to one of the questions."""
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
    changes = {"id": engine.new_id, "client_key": "NULL", "text": f"'grown ' || i || '{'some words ' * 90}'"}
    one = "(SELECT id FROM messages WHERE role = 'assistant' LIMIT 1)"
    engine.ask(f"{numbers} {copy(engine, 'messages', changes, f'CROSS JOIN n WHERE t.id = {one}')}")


class Load:
    """People at the site, and writers of transactions whose rows can be computed again."""

    def __init__(self, engine: restoring.Engine, port: int):
        self.engine, self.stop, self.book = engine, threading.Event(), lab.WORK / f"{engine.name}.jsonl"
        asker = str(lab.HERE / "parts/asker.py")
        self.people = lab.spawn(sys.executable, asker, str(port), str(PEOPLE), str(self.book), log="asker.log")
        lab.wait_until(lambda: self.book.exists() and self.book.read_text().count('"ask"') >= PEOPLE, 60, "people")
        self.base = engine.ask("SELECT id FROM conversations LIMIT 1")[0][0]
        self.written = [0] * WRITERS
        self.threads = [threading.Thread(target=self._write, args=(n,), daemon=True) for n in range(WRITERS)]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def _write(self, writer: int) -> None:
        run, script = self.engine.writer(), self._script()
        while not self.stop.is_set():
            ids = {name: self.engine.literal(uuid.uuid4()) for name in ("conversation", "question", "answer")}
            run(script.format(text=f"load {writer} {self.written[writer]}", **ids))
            self.written[writer] += 1
            time.sleep(0.01)

    def _script(self) -> str:
        """A conversation, its question and its answer, all with the same text."""
        here = {"conversation_id": "{conversation}", "client_key": "NULL", "text": "'{text}'"}
        asked = here | {"id": "{question}", "parent_id": "NULL", "role": "'user'"}
        told = here | {"id": "{answer}", "parent_id": "{question}", "role": "'assistant'"}
        head = {"id": "{conversation}", "title": "'{text}'", "head_id": "{answer}"}
        one = f"WHERE t.id = (SELECT id FROM messages WHERE conversation_id = '{self.base}' LIMIT 1)"
        statements = [
            copy(self.engine, "conversations", head, f"WHERE t.id = '{self.base}'"),
            copy(self.engine, "messages", asked, one),
            copy(self.engine, "messages", told, one),
        ]
        return ";\n".join(["BEGIN", *statements, "COMMIT;"])

    def seen(self) -> list[int]:
        """How many transactions each writer has committed, and how many questions there are."""
        return [*self.written, number(self.engine, "messages WHERE role = 'user'")]

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(60)
        self.people.terminate()
        self.people.wait(120)


def number(engine: restoring.Engine, rest: str) -> int:
    return int(engine.ask(f"SELECT count(*) FROM {rest}")[0][0])


HALF = {
    "conversations without their last message": "conversations c WHERE NOT EXISTS "
    "(SELECT 1 FROM messages m WHERE m.id = c.head_id AND m.conversation_id = c.id)",
    "questions without an answer": "messages q WHERE role = 'user' AND NOT EXISTS "
    "(SELECT 1 FROM messages a WHERE a.parent_id = q.id)",
    "answers without a run": "messages a JOIN messages q ON q.id = a.parent_id WHERE q.client_key IS NOT NULL "
    "AND a.text NOT LIKE 'grown %' AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.answer_id = a.id)",
}


def wrong(engine: restoring.Engine, least: list[int], most: list[int]) -> str:
    """What is wrong with a state that was saved while others wrote, when they had come so far at its begin and end."""
    counts = {"broken references": engine.broken_references()}
    counts |= {what: number(engine, rest) for what, rest in HALF.items()}
    found = [f"{count} {what}" for what, count in counts.items() if count]
    query = "SELECT c.title, m.role, m.text FROM conversations c JOIN messages m ON m.conversation_id = c.id"
    rows = engine.ask(f"{query} WHERE c.title LIKE 'load %'")
    here = []
    for writer in range(WRITERS):
        kept = sorted(row for row in rows if row[0].startswith(f"load {writer} "))
        texts = [f"load {writer} {n}" for n in range(len(kept) // 2)]
        if kept != sorted((text, role, text) for text in texts for role in ("user", "assistant")):
            found.append(f"{len(kept)} rows of writer {writer} are not those of its first transactions")
        here.append(len(texts))
    here.append(number(engine, "messages WHERE role = 'user'"))
    if not all(low <= now <= high for low, now, high in zip(least, here, most, strict=True)):
        found.append(f"{here} is not between {least} and {most}")
    return "; ".join(found) or f"ok: {here} between {least} and {most}"
