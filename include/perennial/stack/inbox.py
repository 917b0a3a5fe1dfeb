"""The mail inbox of the embedded stack: an SMTP server that keeps every mail in a Maildir, and a page that shows them."""

import asyncio
import base64
import html
import mailbox
import re
import threading
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import default
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import quote, unquote

from perennial.config.settings import Settings

_MAX_MAIL_BYTES = 32 * 1024 * 1024
# A mail is somebody else's text: it may show its own pictures and style, and nothing more; links open outside.
_MAIL_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox allow-popups allow-popups-to-escape-sandbox"
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'none'; base-uri 'none'"
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#1a1a1a;background:#fff}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.45rem .6rem;border-bottom:1px solid #ddd}
td.date{white-space:nowrap;color:#555}a{color:#0b57d0}h1{font-size:1.3rem}dl{display:grid;grid-template-columns:5rem 1fr}
dt{color:#555}dd{margin:0}iframe{width:100%;height:75vh;border:1px solid #ddd}pre{white-space:pre-wrap;overflow-wrap:anywhere}
"""


class Inbox:
    """The stored mails, newest first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for part in ("new", "cur", "tmp"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def mails(self) -> list[tuple[str, EmailMessage]]:
        """Key and message of every mail."""
        maildir = self._maildir()
        return [(key, _parse(maildir.get_bytes(key))) for key in sorted(maildir.keys(), reverse=True)]

    def mail(self, key: str) -> EmailMessage | None:
        try:
            return _parse(self._maildir().get_bytes(key))
        except KeyError:
            return None

    def _maildir(self) -> mailbox.Maildir:
        # Opened anew each time: requests come in threads, and an open one remembers what it saw.
        return mailbox.Maildir(self._folder)


def render_list(inbox: Inbox) -> str:
    rows = "".join(
        f'<tr><td class="date">{_date(mail)}</td><td>{_header(mail, "From")}</td><td>{_header(mail, "To")}</td>'
        f'<td><a href="/mail/{quote(key, safe="")}">{_header(mail, "Subject") or "(no subject)"}</a></td></tr>'
        for key, mail in inbox.mails()
    )
    table = f"<table><tr><th>Date</th><th>From</th><th>To</th><th>Subject</th></tr>{rows}</table>"
    return _page("Inbox", table if rows else "<p>No mail yet. What Perennial sends arrives here.</p>")


def render_mail(key: str, mail: EmailMessage) -> str:
    """Headers, a frame with the HTML body if there is one, and the plain text."""
    headers = "".join(f"<dt>{name}</dt><dd>{_header(mail, name)}</dd>" for name in ("From", "To", "Date"))
    frame = ""
    if mail.get_body(("html",)):
        sandbox = 'sandbox="allow-popups allow-popups-to-escape-sandbox"'
        frame = f'<iframe {sandbox} src="/mail/{quote(key, safe="")}/html" title="HTML body"></iframe>'
    plain = mail.get_body(("plain",))
    text = f"<h2>Plain text</h2><pre>{html.escape(plain.get_content())}</pre>" if plain else ""
    back = '<p><a href="/">← all mails</a></p>'
    return _page(str(mail["Subject"] or "(no subject)"), f"{back}<dl>{headers}</dl>{frame}{text}")


def render_html_body(mail: EmailMessage) -> str:
    """The HTML body with its pictures put in, so that nothing has to be fetched."""
    body = mail.get_body(("html",))
    if body is None:
        return ""
    pictures = {
        str(part["Content-ID"]).strip("<> "): part for part in mail.walk() if part["Content-ID"] and not part.is_multipart()
    }

    def embed(match: re.Match[str]) -> str:
        part = pictures.get(unquote(match[1]))
        if part is None or part.get_content_maintype() != "image":
            return "data:,"
        return f"data:{part.get_content_type()};base64,{base64.b64encode(_payload(part)).decode()}"

    return '<base target="_blank">' + re.sub(r"""cid:([^"'\s)>]+)""", embed, body.get_content())


def serve_page(inbox: Inbox, *, host: str, port: int) -> ThreadingHTTPServer:
    """A server of the page, not started yet."""

    class Handler(_Handler):
        pass

    Handler.inbox = inbox
    return ThreadingHTTPServer((host, port), Handler)


def main() -> None:
    """Serve both until the process is ended."""
    settings = Settings.load()
    inbox = Inbox(settings.paths.inbox)
    page = serve_page(inbox, host=settings.bind, port=settings.inbox_port)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    asyncio.run(_serve_smtp(settings))


async def _serve_smtp(settings: Settings) -> None:
    from aiosmtpd.handlers import Mailbox
    from aiosmtpd.smtp import SMTP

    keep = Mailbox(settings.paths.inbox)

    def protocol() -> asyncio.Protocol:
        return cast(asyncio.Protocol, SMTP(keep, data_size_limit=_MAX_MAIL_BYTES, enable_SMTPUTF8=True, hostname="perennial"))

    server = await asyncio.get_running_loop().create_server(protocol, settings.bind, settings.smtp_port)
    await server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    """`/`, `/mail/KEY`, `/mail/KEY/html`, and `/readyz` as Mailpit has it; nothing can be changed."""

    inbox: Inbox
    server_version = "perennial-inbox"

    def do_GET(self) -> None:
        match [unquote(part) for part in self.path.split("?")[0].split("/")[1:]]:
            case [""]:
                self._answer(render_list(self.inbox))
            case ["readyz"]:
                self._answer("ok")
            case ["mail", key] if mail := self.inbox.mail(key):
                self._answer(render_mail(key, mail))
            case ["mail", key, "html"] if mail := self.inbox.mail(key):
                self._answer(render_html_body(mail), policy=_MAIL_POLICY)
            case _:
                self._answer(_page("Not found", '<p><a href="/">← all mails</a></p>'), status=HTTPStatus.NOT_FOUND)

    def _answer(self, text: str, *, status: HTTPStatus = HTTPStatus.OK, policy: str = _PAGE_POLICY) -> None:
        content = text.encode(errors="replace")
        self.send_response(status)
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(content))}
        safety = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        for name, value in (headers | safety).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: health checks would fill the log."""


def _parse(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=default)


def _page(title: str, body: str) -> str:
    title = html.escape(title)
    return f"<!doctype html><title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>{body}"


def _header(mail: EmailMessage, name: str) -> str:
    return html.escape(str(mail[name] or ""))


def _date(mail: EmailMessage) -> str:
    try:
        return f"{parsedate_to_datetime(str(mail['Date'])):%Y-%m-%d %H:%M}"
    except ValueError:
        return _header(mail, "Date")


def _payload(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


if __name__ == "__main__":
    main()
