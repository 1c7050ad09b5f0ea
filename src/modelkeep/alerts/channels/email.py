"""Sends mail by SMTP: text and HTML, all messages about one episode of an alert in one thread."""

from __future__ import annotations

import html
import smtplib
import socket
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from typing import Final, Literal

from modelkeep.alerts.channel import Channel, Notification, line
from modelkeep.alerts.outbound import CLOSED, Outbound
from modelkeep.core.errors import BadInput, Denied, Unreachable
from modelkeep.core.secret import NONE, Secret

PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}
_LOCAL: Final = ("127.0.0.1", "::1", "localhost")
_AUTHENTICATION: Final = (530, 534, 535)


@dataclass(frozen=True)
class Email:
    """Sends each message as mail.

    Args:
        host: the SMTP server.
        sender: the From address.
        recipients: the addresses that receive it.
        port: 0 for the usual one: 587 with starttls, 465 with tls, 25 with none.
        tls: `starttls`, `tls` from the first byte, or `none`.
        user: name to log in with; empty for none.
        password: a secret, so configure it as `secret:NAME`; sent only over TLS or to this machine.
        ca: a file of certificates to trust instead of the system's.
        timeout_s: limit for each wait.
        door: the way out.
    """

    host: str
    sender: str
    recipients: list[str] = field(default_factory=list)
    port: int = 0
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: Secret = NONE
    ca: str = ""
    timeout_s: float = 10.0
    door: Outbound = CLOSED

    def __post_init__(self) -> None:
        for address in (self.sender, *self.recipients):
            if "@" not in parseaddr(address)[1] or line(address) != address:
                raise BadInput(f"{address!r} is not a mail address")
        if not self.recipients:
            raise BadInput("recipients: nobody to send mail to")
        if self.user and self.tls == "none" and self.host not in _LOCAL:
            raise BadInput("tls: none would send the password in clear", hint="Set tls to starttls or tls.")

    def send(self, notification: Notification) -> None:
        mail = self.message(notification)
        try:
            with self._connect() as server:
                server.send_message(mail)
        except smtplib.SMTPResponseException as error:
            raise _judge(self.host, error.smtp_code, error.smtp_error) from None
        except smtplib.SMTPRecipientsRefused as error:
            code, said = next(iter(error.recipients.values()))
            raise _judge(self.host, code, said) from None
        except smtplib.SMTPNotSupportedError as error:
            raise BadInput(f"{self.host}: {error}", hint="Set tls and user to what the server offers.") from None
        except (OSError, smtplib.SMTPException) as error:
            raise Unreachable(f"{self.host}: {str(error) or type(error).__name__}") from None

    def message(self, notification: Notification) -> EmailMessage:
        """Gives the mail; a resent one has the same Message-ID, a later one of the episode refers to the first."""
        domain = parseaddr(self.sender)[1].rpartition("@")[2]
        mail = EmailMessage()
        mail["Subject"] = notification.headline
        mail["From"] = self.sender
        mail["To"] = ", ".join(self.recipients)
        mail["Date"] = formatdate(localtime=False)
        mail["Message-ID"] = f"<{notification.id}@{domain}>"
        mail["X-Modelkeep-Notification"] = notification.id
        mail["Auto-Submitted"] = "auto-generated"
        if notification.thread != notification.id:
            mail["In-Reply-To"] = mail["References"] = f"<{notification.thread}@{domain}>"
        mail.set_content(notification.text)
        mail.add_alternative(page(notification), subtype="html")
        return mail

    def _connect(self) -> smtplib.SMTP:
        port = self.port or PORTS[self.tls]
        address = self.door.check(self.host, port)
        server = _Smtp(self.host, address, port, self.timeout_s, self._context() if self.tls == "tls" else None)
        try:
            if self.tls == "starttls":
                server.starttls(context=self._context())
            if self.user:
                server.login(self.user, self.password.reveal())
        except BaseException:
            server.close()
            raise
        return server

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca or None)


class _Smtp(smtplib.SMTP):
    """SMTP to the checked address, with the name for TLS."""

    def __init__(self, host: str, address: str, port: int, timeout_s: float, context: ssl.SSLContext | None) -> None:
        self._address, self._context = address, context
        super().__init__(host, port, timeout=timeout_s)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = socket.create_connection((self._address, port), timeout)
        return self._context.wrap_socket(plain, server_hostname=host) if self._context else plain


def page(notification: Notification) -> str:
    """Gives the message as HTML; whatever came from data is escaped.

    >>> from modelkeep.alerts.channel import example
    >>> "<h2>flights: error rate 12 %</h2>" in page(example())
    True
    """
    labels = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
        for name, value in sorted(notification.labels.items())
    )
    rest = html.escape(notification.text.partition("\n\n")[2])
    link = html.escape(notification.link, quote=True)
    return (
        f"<html><body><h2>{html.escape(notification.title)}</h2><pre>{rest}</pre><table>{labels}</table>"
        + (f'<p><a href="{link}">{link}</a></p>' if notification.link.startswith(("http://", "https://")) else "")
        + "</body></html>"
    )


def _judge(host: str, code: int, said: bytes | str) -> Unreachable | BadInput | Denied:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    message = f"{host} answered {code}: {line(text)}"
    if code in _AUTHENTICATION:
        return Denied(message, hint="Check user and password.")
    if 500 <= code < 600:
        return BadInput(message, hint="Mend the channel's settings.")
    return Unreachable(message)


plugin: type[Channel] = Email
