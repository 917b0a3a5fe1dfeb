from email.message import EmailMessage
from pathlib import Path

import pytest

from perennial.stack.inbox import Inbox, render_html_body, render_list, render_mail

PNG = b"\x89PNG\r\n\x1a\n0000"


@pytest.fixture
def mail() -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = "Retrained <flights>"
    mail["From"], mail["To"] = "perennial@localhost", "owner@example.org"
    mail["Date"] = "Mon, 01 Apr 2013 00:00:00 +0000"
    mail.set_content("plain & simple")
    mail.add_alternative('<img src="cid:roc"><img src="cid:gone"><script>alert(1)</script>', subtype="html")
    mail.get_payload()[1].add_related(PNG, "image", "png", cid="<roc>")
    return mail


def test_pictures_of_the_mail_are_put_in_and_missing_ones_left_empty(mail):
    body = render_html_body(mail)
    assert 'src="data:image/png;base64,' in body
    assert 'src="data:,"' in body
    assert "cid:" not in body


def test_what_is_no_picture_is_not_put_in(mail):
    mail.get_payload()[1].get_payload()[1].replace_header("Content-Type", "text/html")
    assert "base64" not in render_html_body(mail)


def test_a_mail_is_shown_in_a_frame_without_scripts_and_as_plain_text(mail):
    page = render_mail("key/1", mail)
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox" src="/mail/key%2F1/html"' in page
    assert "<pre>plain &amp; simple\n</pre>" in page
    assert "Retrained &lt;flights&gt;" in page
    assert "<script>" not in page


def test_the_list_shows_the_newest_mail_first(tmp_path: Path, mail):
    inbox = Inbox(tmp_path / "inbox")
    assert "No mail yet" in render_list(inbox)
    for number, name in enumerate(("older", "newer")):
        mail.replace_header("Subject", name)
        (tmp_path / "inbox" / "new" / f"{number}.mail").write_bytes(bytes(mail))
    page = render_list(inbox)
    assert page.index("newer") < page.index("older")
    assert "2013-04-01 00:00" in page
