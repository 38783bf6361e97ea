"""The API and its refusals, for those who connect a machine: drawn on the server from what the application itself declares."""

import re
from dataclasses import dataclass, field
from typing import Any, Final, cast

from flask import Blueprint, Response, current_app, jsonify, render_template
from flask_openapi3 import OpenAPI

from app.kernel.errors import Refusal, all_refusals, msg
from app.web.auth import Access, Caller, access_of, public
from app.web.i18n import translate
from app.web.problems import MEDIA_TYPE, Problem

blueprint = Blueprint("reference", __name__)

CALLERS: Final = {
    Caller.ANYONE: msg("Anybody"),
    Caller.PERSON: msg("A signed-in person"),
    Caller.MACHINE: msg("A client with an access token"),
    Caller.CITY: msg("A federated city, by a signed message"),
    Caller.TERMINAL: msg("An enrolled terminal, by a signed proof"),
}
METHODS: Final = ("get", "post", "put", "patch", "delete")
HOLE: Final = re.compile(r"%\(\w+\)[sd]")
CONVERTER: Final = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
REFERENCE: Final = "#/components/schemas/"

Node = dict[str, Any]  # a part of the OpenAPI document, which is JSON of any shape


@dataclass(frozen=True, kw_only=True)
class Field:
    """A parameter or a property."""

    name: str
    kind: str
    link: str
    required: bool
    text: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What may come back."""

    status: str
    text: str
    link: str


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one address."""

    anchor: str
    method: str
    path: str
    title: str
    text: str
    caller: Caller
    who: str
    scope: str
    parameters: list[Field]
    body: str
    body_link: str
    answers: list[Answer]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Operations of one tag."""

    name: str
    text: str
    operations: list[Operation]


@dataclass(frozen=True, kw_only=True)
class Schema:
    """A named shape of a body."""

    name: str
    text: str
    fields: list[Field] = field(default_factory=list)
    values: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ErrorRow:
    """One refusal."""

    code: str
    status: int
    sentence: str
    meaning: str

    @property
    def shown(self) -> str:
        """The sentence in the page's language; its blanks are shown as ``…``."""
        return HOLE.sub("…", translate(self.sentence))


def document() -> Node:
    """The application's OpenAPI document.

    The generator describes a refused body as its own list of errors; what a caller really gets is one problem document.
    """
    described = cast("Node", cast("OpenAPI", current_app).api_doc)
    refused = {
        "description": "Refused; the code and the fields say why",
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"{REFERENCE}{Problem.__name__}"}}},
    }
    for methods in described.get("paths", {}).values():
        for method in METHODS:
            if "422" in methods.get(method, {}).get("responses", {}):
                methods[method]["responses"]["422"] = refused
    return described


def _kind(node: Node) -> tuple[str, str]:
    """A schema as words, and the name of the schema it refers to."""
    if "$ref" in node:
        name = str(node["$ref"]).removeprefix(REFERENCE)
        return name, name
    for either in ("anyOf", "oneOf", "allOf"):
        if either in node:
            parts = [_kind(part) for part in node[either]]
            return " | ".join(kind for kind, _ in parts), next((link for _, link in parts if link), "")
    if node.get("type") == "array":
        kind, link = _kind(node.get("items", {}))
        return f"[{kind}]", link
    if "enum" in node:
        return " | ".join(f"“{value}”" for value in node["enum"]), ""
    if "const" in node:
        return f"“{node['const']}”", ""
    kind = str(node.get("type", "any"))
    return (f"{kind} ({node['format']})" if "format" in node else kind), ""


def _field(name: str, node: Node, *, required: bool, text: str = "") -> Field:
    kind, link = _kind(node)
    return Field(name=name, kind=kind, link=link, required=required, text=text or str(node.get("description", "")))


def _content(node: Node) -> tuple[str, str]:
    """Media type and schema of a body."""
    for media_type, content in node.get("content", {}).items():
        kind, link = _kind(content.get("schema", {}))
        return f"{media_type}: {kind}" if not link else f"{media_type}: ", link
    return "", ""


def accesses() -> dict[tuple[str, str], Access]:
    """The access declaration of each ``(method, path)`` as OpenAPI writes paths."""
    found = {}
    for rule in current_app.url_map.iter_rules():
        access = access_of(current_app.view_functions[rule.endpoint])
        if access is not None:
            path = CONVERTER.sub(r"{\1}", rule.rule)
            found.update({(method.lower(), path): access for method in rule.methods or ()})
    return found


def _operation(method: str, path: str, node: Node, access: Access | None) -> Operation:
    body, body_link = _content(node.get("requestBody", {}))
    caller = access.caller if access else Caller.ANYONE
    return Operation(
        anchor=f"{method}-{re.sub(r'[^a-z0-9]+', '-', path.lower()).strip('-')}",
        method=method.upper(),
        path=path,
        title=str(node.get("summary", "")) or path,
        text=str(node.get("description", "")),
        caller=caller,
        who=CALLERS[caller],
        scope=(access.scope or "") if access else "",
        parameters=[
            _field(
                item["name"], item.get("schema", {}), required=bool(item.get("required")), text=str(item.get("description", ""))
            )
            for item in node.get("parameters", [])
        ],
        body=body,
        body_link=body_link,
        answers=[
            Answer(status=status, text=str(answer.get("description", "")), link=_content(answer)[1])
            for status, answer in sorted(node.get("responses", {}).items())
        ],
    )


def groups() -> list[Group]:
    """Every operation, by tag, in the order of addresses."""
    described = document()
    texts = {tag["name"]: str(tag.get("description", "")) for tag in described.get("tags", [])}
    declared = accesses()
    found: dict[str, list[Operation]] = {}
    for path, methods in sorted(described.get("paths", {}).items()):
        for method in METHODS:
            if method in methods:
                node = methods[method]
                tag = (node.get("tags") or [path.split("/")[2] if path.startswith("/api/") else "city"])[0]
                found.setdefault(tag, []).append(_operation(method, path, node, declared.get((method, path))))
    return [Group(name=name, text=texts.get(name, ""), operations=found[name]) for name in sorted(found)]


def schemas() -> list[Schema]:
    """Every named shape."""
    return [
        Schema(
            name=name,
            text=str(node.get("description", "")),
            fields=[
                _field(key, part, required=key in node.get("required", ())) for key, part in node.get("properties", {}).items()
            ],
            values=[str(value) for value in node.get("enum", ())],
        )
        for name, node in sorted(document().get("components", {}).get("schemas", {}).items())
    ]


def _row(kind: type[Refusal]) -> ErrorRow:
    first = (kind.__doc__ or "").strip().split("\n\n")[0]
    return ErrorRow(code=kind.code, status=kind.status, sentence=kind.sentence, meaning=" ".join(first.split()))


def error_rows() -> list[ErrorRow]:
    """Every refusal this application can give, by code."""
    return [_row(kind) for kind in all_refusals()]


@blueprint.get("/reference")
@public
def index() -> str:
    """What there is to read."""
    return render_template("public/reference/index.html", operations=sum(len(group.operations) for group in groups()))


@blueprint.get("/reference/api")
@public
def api() -> str:
    """Every operation of the machine interface."""
    return render_template("public/reference/api.html", groups=groups(), schemas=schemas())


@blueprint.get("/reference/errors")
@public
def errors() -> str:
    """Every refusal with its permanent code, in both languages."""
    return render_template("public/reference/errors.html", rows=error_rows())


@blueprint.get("/openapi.json")
@public
def openapi() -> Response:
    """The OpenAPI document itself."""
    return jsonify(document())
