"""A mail with all that a mail may have."""

from perennial.adapters.mail import Mail

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
MAIL = Mail(
    sender="perennial@localhost",
    recipients=("owner@example.com", "team@example.com"),
    subject="[perennial] späte Flüge ✓",
    text="Grüße\n",
    html='<p>Grüße</p><img src="cid:roc">',
    key="flight_delay/run/decision",
    pictures={"roc": PNG},
)
