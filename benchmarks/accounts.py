"""Makes accounts that are signed in, straight in the database: prints one JSON line [cookie, CSRF token] for each."""

from __future__ import annotations

import hashlib
import json
import secrets
import sys

from app import create_app
from app.accounts.models import User, UserSession
from app.database import transaction
from itsdangerous import URLSafeTimedSerializer

app = create_app()
with app.app_context(), transaction() as session:
    serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    signer = URLSafeTimedSerializer(app.secret_key, salt="wtf-csrf-token")
    for _ in range(int(sys.argv[1])):
        token, raw = secrets.token_urlsafe(32), secrets.token_hex(20)
        user = User(email=f"{secrets.token_hex(8)}@example.com", password="-", fs_uniquifier=secrets.token_hex(16))
        session.add(user)
        session.flush()
        session.add(UserSession(token_hash=hashlib.sha256(token.encode()).hexdigest(), user_id=user.id))
        cookie = serializer.dumps({"_user_id": token, "_fresh": True, "_permanent": True, "csrf_token": raw})
        print(json.dumps([f"{app.config['SESSION_COOKIE_NAME']}={cookie}", signer.dumps(raw)]))
