"""What an HTML mail holds, and that its tags close."""

from html.parser import HTMLParser


class Checker(HTMLParser):
    """Collects what a mail program would fetch, follow or run, and finds tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.add(tag)
        self.sources += [values[name] for name in ("src", "background", "srcset") if name in values]
        self.links += [values["href"]] if "href" in values else []
        if tag not in {"img", "br", "meta"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def check_html(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker
