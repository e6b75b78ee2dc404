"""Makes accounts that are signed in, straight in the database.

Prints a JSON line for each: cookie, CSRF token and, for the first, the addresses of conversations of 50 messages, or of
BENCH_LENGTHS.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
from uuid import UUID

from itsdangerous import URLSafeTimedSerializer
from sqlalchemy.orm import Session

from app import create_app
from app.accounts.models import User, UserSession
from app.chat.models import Conversation, Message
from app.database import new_id, transaction


def long_conversation(session: Session, user_id: UUID, length: int) -> str:
    conversation = Conversation(id=new_id(), user_id=user_id, title="Long")
    session.add(conversation)
    session.flush()
    for number in range(length):
        role = "assistant" if number % 2 else "user"
        message = Message(id=new_id(), conversation_id=conversation.id, user_id=user_id, role=role)
        message.parent_id, message.text = conversation.head_id, f"{role} {number // 2}"
        session.add(message)
        session.flush()
        conversation.head_id = message.id
    return f"/chat/{conversation.id}"


app = create_app()
with app.app_context(), transaction() as session:
    serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    signer = URLSafeTimedSerializer(app.secret_key, salt="wtf-csrf-token")
    for number in range(int(sys.argv[1])):
        token, raw = secrets.token_urlsafe(32), secrets.token_hex(20)
        user = User(email=f"{secrets.token_hex(8)}@example.com", password="-", fs_uniquifier=secrets.token_hex(16))
        session.add(user)
        session.flush()
        session.add(UserSession(token_hash=hashlib.sha256(token.encode()).hexdigest(), user_id=user.id))
        lengths = [] if number else map(int, os.environ.get("BENCH_LENGTHS", "50").split(","))
        address = " ".join(long_conversation(session, user.id, length) for length in lengths)
        cookie = serializer.dumps({"_user_id": token, "_fresh": True, "_permanent": True, "csrf_token": raw})
        print(json.dumps([f"{app.config['SESSION_COOKIE_NAME']}={cookie}", signer.dumps(raw), address]))
