from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest

from perennial.adapters.mail import build_message
from perennial.errors import ConfigurationError
from support.records.mails import MAIL


def parse(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=default)


def test_lines_on_the_wire_are_short_and_ascii():
    lines = build_message(replace(MAIL, html="<p>" + "ü" * 5000 + "</p>")).as_bytes().splitlines()
    assert max(len(line) for line in lines) <= 998  # RFC 5322, 2.1.1
    assert all(line.isascii() for line in lines)


def test_the_same_key_gives_the_same_id_and_another_key_another():
    first, second = (build_message(mail)["Message-ID"] for mail in (MAIL, replace(MAIL, text="retried")))
    assert first == second
    assert build_message(replace(MAIL, key="other"))["Message-ID"] != first


@pytest.mark.parametrize(
    "subject", ["late\r\nBcc: spy@example.com", "late\nBcc: spy@example.com", "late\u2028Bcc: spy@example.com\x00"]
)
def test_a_subject_cannot_start_another_header(subject):
    message = parse(build_message(replace(MAIL, subject=subject)).as_bytes())
    assert message["Bcc"] is None
    assert message["Subject"] == "late Bcc: spy@example.com"


@pytest.mark.parametrize(
    "address",
    ["a@b\r\nBcc: spy@example.com", "a@b, spy@example.com", "nobody", "a@", "@b", "", "<a@b>", "a b@c", "ü@example.com"],
)
def test_what_is_no_address_is_refused_by_name(address):
    with pytest.raises(ConfigurationError, match="is no mail address"):
        build_message(replace(MAIL, recipients=(address,)))
