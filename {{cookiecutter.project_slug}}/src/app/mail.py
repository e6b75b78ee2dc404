"""Mail by one setting, MAIL_URL; without it (development only) a mail is written to the log."""

import smtplib
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from flask import current_app

from app import jobs
from app.config import settings

TIMEOUT_SECONDS = 10


@jobs.task(retries=5)
def send(recipient: str, subject: str, text: str, html: str | None = None) -> None:
    """Send one mail; raises OSError or smtplib.SMTPException when the server does not take it."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = settings().sender, recipient, subject
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    url = urlsplit(settings().mail_url.get_secret_value())
    if not url.hostname:
        current_app.logger.warning("MAIL_URL is not set; the mail to %s would have said:\n%s", recipient, text)
        return
    connect = smtplib.SMTP_SSL if url.scheme == "smtps" else smtplib.SMTP
    with connect(url.hostname, url.port or 0, timeout=TIMEOUT_SECONDS) as server:
        if url.scheme == "smtp" and server.has_extn("starttls"):
            server.starttls()
        if url.username:
            server.login(unquote(url.username), unquote(url.password or ""))
        server.send_message(message)
