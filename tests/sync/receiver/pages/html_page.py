"""Minimal HTML parser for assertions on pages."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Elements of a page with their attributes, and its text, separated at elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self.text += "\n"

    def handle_endtag(self, tag: str) -> None:
        self.text += "\n"

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of each `tag` element."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def links(self) -> list[str]:
        """The targets of its links."""
        return [attributes["href"] for attributes in self.of("a")]
