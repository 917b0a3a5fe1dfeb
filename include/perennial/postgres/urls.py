"""What is wrong with a Postgres URL, in words that hold nothing of it: its password may stand anywhere in a wrong one."""

import re

FORM = "postgresql://user:password@host:port/database"
_SCHEMES = ("postgresql://", "postgres://")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_UNKNOWN_OPTION = re.compile(r'invalid URI query parameter: "(\w+)"')


def find_url_fault(url: str) -> str:
    """What is wrong with a URL, without any part of it; empty when libpq takes it.

    Parameters
    ----------
    url
        As it is set. Whatever libpq takes as a URI is right: several hosts, sockets, options behind `?`.

    Notes
    -----
    Two forms that libpq reads as something that nobody means are refused, as its own errors would then show a part of the
    password: an @ inside it, and a / or ? before the @.
    """
    if not url:
        return ""
    for is_wrong, fault in _SIGNS:
        if is_wrong(url):
            return fault
    return _find_libpq_fault(url)


def _find_libpq_fault(url: str) -> str:
    import psycopg2
    from psycopg2.extensions import parse_dsn

    said = ""
    try:
        ports = parse_dsn(url).get("port", "").split(",")
    except psycopg2.Error as error:
        # Not as a cause: it quotes the URL.
        said = str(error)
    if not said:
        are_ports = all(not port or (port.isdecimal() and 1 <= int(port) <= 65535) for port in ports)
        return "" if are_ports else "its port is no number from 1 to 65535"
    if option := _UNKNOWN_OPTION.search(said):
        return f"it has an option {option[1]!r}, which libpq does not know"
    return f"libpq cannot read it: expected {FORM}, with every special character in user and password as %XX"


def _authority(url: str) -> str:
    return re.split(r"[/?]", url.partition("://")[2], maxsplit=1)[0]


_SIGNS = (
    (lambda url: url[0] in "\"'" or url[-1] in "\"'", "it is in quotes: write it without them, and a $ as %24"),
    (lambda url: url != url.strip(), "it begins or ends with a blank"),
    (lambda url: re.search(r"\s#", url), "something stands behind it: a comment needs a line of its own"),
    (lambda url: not url.startswith(_SCHEMES), f"it does not begin with postgresql://: expected {FORM}"),
    (_BAD_PERCENT.search, "it has a % that does not begin a %XX: a % itself is written %25"),
    (lambda url: _authority(url).count("@") > 1, "it has more than one @ before the host: an @ in a password is written %40"),
    (
        lambda url: "@" in url and "@" not in _authority(url),
        "it has a / or ? before its @: in a password they are written %2F and %3F, and an @ in a name %40",
    ),
)
