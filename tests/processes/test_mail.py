"""Mails on their way to a real SMTP server, which takes or refuses them."""

import asyncio
import socket
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default

import pytest
from aiosmtpd.controller import Controller

from perennial.adapters.mail import build_message_id, send
from perennial.errors import ConfigurationError, UnavailableError
from support.records.mails import MAIL, PNG


class Server:
    """An SMTP server that keeps what it takes, and refuses what a test tells it to."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self.refused: dict[str, str] = {}
        self.data_answer = "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options) -> str:  # noqa: ARG002, N802 - as aiosmtpd calls it
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope) -> str:  # noqa: ARG002, N802
        self.contents.append(envelope.content)
        return self.data_answer


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def server(port) -> Iterator[Server]:
    handler = Server()
    controller = Controller(handler, hostname="127.0.0.1", port=port, loop=asyncio.new_event_loop())
    controller.start()
    yield handler
    controller.stop()
    controller.loop.close()


def test_a_mail_arrives_with_text_html_and_pictures(server, port):
    assert send(MAIL, host="127.0.0.1", port=port) == ()
    message = message_from_bytes(server.contents[0], policy=default)
    assert message["Subject"] == MAIL.subject
    assert message["To"] == "owner@example.com, team@example.com"
    assert message["Message-ID"] == build_message_id(MAIL.key, sender=MAIL.sender)
    assert message["Date"].datetime.tzinfo is not None
    assert message.get_body(("plain",)).get_content() == "Grüße\r\n"
    assert 'src="cid:roc"' in message.get_body(("html",)).get_content()
    (picture,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert (picture["Content-ID"], picture.get_content()) == ("<roc>", PNG)


def test_a_refused_recipient_does_not_keep_the_others_from_it(server, port):
    server.refused = {"team@example.com": "550 no such user"}
    assert send(MAIL, host="127.0.0.1", port=port) == ("team@example.com",)
    assert len(server.contents) == 1


@pytest.mark.parametrize(
    ("answer", "error"), [("550 no such user", ConfigurationError), ("451 greylisted, come back later", UnavailableError)]
)
def test_refusing_everybody_is_final_or_passing_as_the_server_says(server, port, answer, error):
    server.refused = dict.fromkeys(MAIL.recipients, answer)
    with pytest.raises(error, match=answer.partition(" ")[2]):
        send(MAIL, host="127.0.0.1", port=port)


@pytest.mark.parametrize(("answer", "error"), [("554 spam", ConfigurationError), ("452 disk full", UnavailableError)])
def test_refusing_the_content_is_final_or_passing_as_the_server_says(server, port, answer, error):
    server.data_answer = answer
    with pytest.raises(error, match=answer[4:]):
        send(MAIL, host="127.0.0.1", port=port)


def test_no_server_is_worth_another_try(port):
    with pytest.raises(UnavailableError, match=rf"the mail server at 127.0.0.1:{port} does not answer"):
        send(MAIL, host="127.0.0.1", port=port)
