"""Mails over SMTP: HTML with a plain text alternative and inline pictures."""

import logging
import smtplib
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime
from hashlib import sha256

from perennial.errors import ConfigurationError, UnavailableError

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 30
_LONGEST_SUBJECT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail. `pictures` are PNG files by the content id under which the HTML names them (`cid:<id>`).

    `key` says what the mail is about: the same key gives the same Message-ID, by which readers' mail programs can
    tell a mail that was sent twice.
    """

    sender: str
    recipients: tuple[str, ...]
    subject: str
    text: str
    html: str
    key: str
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def build_message(mail: Mail) -> EmailMessage:
    """Message as it goes over the wire.

    Raises
    ------
    ConfigurationError
        When an address is none.
    """
    message = EmailMessage(policy=SMTP)
    # A line break in a header would start another header: subjects carry names and values that others wrote.
    message["Subject"] = " ".join("".join(c if c.isprintable() else " " for c in mail.subject).split())[:_LONGEST_SUBJECT]
    message["From"] = _read_address(mail.sender, name="Perennial")
    message["To"] = [_read_address(recipient) for recipient in mail.recipients]
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = build_message_id(mail.key, sender=mail.sender)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: keeps absence notes from answering
    message.set_content(mail.text, cte="quoted-printable")
    message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    html = message.get_body(("html",))
    for content_id, picture in mail.pictures.items():
        html.add_related(  # type: ignore[union-attr]
            picture, "image", "png", cid=f"<{content_id}>", disposition="inline", filename=f"{content_id}.png"
        )
    return message


def build_message_id(key: str, *, sender: str) -> str:
    """Message-ID that depends on the key only."""
    return f"<{sha256(key.encode()).hexdigest()[:32]}@{sender.rpartition('@')[2]}>"


def _read_address(address: str, *, name: str = "") -> Address:
    try:
        return Address(name, addr_spec=address)
    except (ValueError, IndexError, MessageError) as error:  # the parser of the standard library raises all three
        raise ConfigurationError(
            f"{address!r} is no mail address: {error}", "mend it in the model's spec or in PERENNIAL_MAIL_FROM"
        ) from error


def send(mail: Mail, *, host: str, port: int) -> tuple[str, ...]:
    """Hand a mail to the mail server.

    Returns
    -------
    The recipients that the server refused while it took others; mostly none.

    Raises
    ------
    UnavailableError
        When the server does not answer or says that it cannot now; trying again may help.
    ConfigurationError
        When the server refuses the sender, every recipient or the mail for good.
    """
    message = build_message(mail)
    where = f"the mail server at {host}:{port}"
    try:
        with smtplib.SMTP(host, port, timeout=_TIMEOUT_SECONDS) as server:
            refused = server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        raise _refusal(where, min(codes), _describe(error.recipients)) from error
    except smtplib.SMTPResponseException as error:
        raise _refusal(where, error.smtp_code, str(error)) from error
    except smtplib.SMTPNotSupportedError as error:
        raise ConfigurationError(f"{where} cannot take this mail: {error}", "use addresses of ASCII letters only") from error
    except (OSError, smtplib.SMTPException) as error:
        raise UnavailableError(
            f"{where} does not answer: {error}", "see: perennial status; PERENNIAL_SMTP_HOST, PERENNIAL_SMTP_PORT"
        ) from error
    if refused:
        log.warning("%s refused some recipients: %s", where, _describe(refused))
    return tuple(refused)


def _refusal(where: str, code: int, answer: str) -> UnavailableError | ConfigurationError:
    """RFC 5321, 4.2.1: codes of 400 to 499 are passing, those from 500 are final."""
    if code < 500:
        return UnavailableError(f"{where} cannot take this mail now: {answer}", "it is tried again")
    return ConfigurationError(f"{where} refuses this mail: {answer}", "check the recipients in the spec and PERENNIAL_MAIL_FROM")


def _describe(refused: Mapping[str, tuple[int, bytes]]) -> str:
    return ", ".join(f"{address}: {code} {answer.decode(errors='replace')}" for address, (code, answer) in refused.items())
