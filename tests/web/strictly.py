"""What holds of every page: strict HTML5, one h1, unique ids, references that resolve, form tokens, nothing inline."""

from collections import Counter
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import html5lib

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
REFERENCES = ("for", "aria-describedby", "aria-labelledby", "aria-controls")


def _syntax(text: str, parser: html5lib.HTMLParser) -> Iterator[str]:
    lines = text.split("\n")
    for (line, _), code, _ in parser.errors:
        yield f"{code} at {line}: {lines[line - 1].strip()[:160]}"


def _ids(tree: Element) -> Iterator[str]:
    ids = Counter(element.get("id") for element in tree.iter() if element.get("id"))
    yield from (f"the id {name!r} is used {count} times" for name, count in ids.items() if count > 1)
    for name in REFERENCES:
        for element in tree.iter():
            for target in (element.get(name) or "").split():
                if target not in ids:
                    yield f"{element.tag} {name} points at {target!r}, which is not there"


def _headings(tree: Element) -> Iterator[str]:
    if (found := len(tree.findall(".//h1"))) != 1:
        yield f"there are {found} h1"
    level = 0
    for element in tree.iter():
        if element.tag in HEADINGS and "govuk-error-summary__title" not in (element.get("class") or ""):
            now = int(element.tag[1])
            if now > level + 1:
                yield f"{element.tag} {''.join(element.itertext()).strip()!r} follows h{level}"
            level = now


def _content(tree: Element) -> Iterator[str]:
    title = tree.find(".//title")
    if title is None or not (title.text or "").strip(" ·\n"):
        yield "the page has no title"
    for element in tree.iter():
        for name in element.attrib:
            if name == "style" or name.startswith("on"):
                yield f"{element.tag} has an inline {name}"
    for form in tree.iter("form"):
        if (form.get("method") or "get").lower() == "post" and form.find(".//input[@name='csrf_token']") is None:
            yield f"the form to {form.get('action')!r} has no token"


def parse(text: str) -> Element:
    """The page as a tree, after everything that holds of every page was checked."""
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    tree: Element = parser.parse(text)
    wrong = [*_syntax(text, parser), *_ids(tree), *_headings(tree), *_content(tree)]
    assert wrong == []
    return tree
