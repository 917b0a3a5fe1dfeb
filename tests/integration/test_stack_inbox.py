"""The inbox: a mail that is sent arrives, is kept, and is shown."""

import smtplib
from email.message import EmailMessage
from mailbox import Maildir

import httpx
import pytest

pytestmark = pytest.mark.integration


def test_a_mail_is_kept_and_shown(stack):
    settings = stack.up("inbox")
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Späte Flüge", settings.mail_from, "owner@example.org"
    mail.set_content("plain")
    mail.add_alternative("<b>rich</b><script>alert(1)</script>", subtype="html")
    with smtplib.SMTP(settings.smtp_host, settings.smtp_port) as smtp:
        smtp.send_message(mail)
    ((key, _),) = ((key, m) for key, m in Maildir(settings.paths.inbox).iteritems() if m["X-RcptTo"] == "owner@example.org")
    with httpx.Client(base_url=f"http://127.0.0.1:{settings.inbox_port}") as client:
        assert "Späte Flüge" in client.get("/").text
        page = client.get(f"/mail/{key}")
        assert "<pre>plain" in page.text and "default-src 'none'" in page.headers["content-security-policy"]
        body = client.get(f"/mail/{key}/html")
        assert "<b>rich</b>" in body.text
        assert "sandbox" in body.headers["content-security-policy"]
        assert "script-src" not in body.headers["content-security-policy"]
        assert client.get("/mail/../../secrets/admin_password").status_code == 404
        assert client.get("/mail/%2e%2e%2f%2e%2e%2fsecrets%2fadmin_password").status_code == 404
        assert client.post("/").status_code == 501
