"""Every route of a city and of the hub says who may call it, the address agrees, and nobody else gets in.

The views themselves are replaced by a stand-in with the same declaration, so that every route is walked with every caller, in
every method, without side effects: what answers 200 let the caller in.
"""

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from app.factory import create_app
from app.kernel.db import Database
from app.kernel.errors import Unauthenticated
from app.kernel.settings import HUB_CODE
from app.web.auth import AUTHENTICATORS, Access, Authenticator, Caller, Principal, Role, access_of, register_authenticator
from app.web.security import limiter
from tests.conftest import fresh, make_settings
from tests.signing_in import sign_in_as

PLACES = {"a city": "320100", "the hub": HUB_CODE}
VALUES = {"uuid": UUID(int=7), "int": 7, "default": "x", "path": "x", "string": "x"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
WITHOUT_SCOPE = "a machine without the scope"
MACHINES = {Caller.MACHINE, Caller.CITY, Caller.TERMINAL}
CALLERS = ("nobody", *Role, *sorted(MACHINES), WITHOUT_SCOPE)

STAFF = frozenset({Role.OFFICER, Role.SUPERVISOR, Role.ADMINISTRATOR})
# Where an address begins says who it is for; the longest beginning counts. ``None`` is anybody who is signed in.
AUDIENCES: dict[str, tuple[Caller, frozenset[Role] | None]] = {
    "/me": (Caller.PERSON, frozenset({Role.RESIDENT})),
    "/staff": (Caller.PERSON, STAFF | {Role.AUDITOR}),
    "/operator": (Caller.PERSON, frozenset({Role.OPERATOR, Role.ADMINISTRATOR})),
    "/hospital": (Caller.PERSON, frozenset({Role.HOSPITAL})),
    "/partner": (Caller.PERSON, frozenset({Role.PARTNER, *STAFF})),
    "/hub": (Caller.PERSON, STAFF),
}
# What everybody who signs in has, staff as well.
EVERYBODYS = ("/me/messages", "/me/payments", "/me/security")
# Scripts and the manifest that a browser fetches by itself, without a session; they hold nothing of anybody.
SCRIPTS = {"/me/card/sw.js", "/me/card/app.webmanifest", "/operator/inspect/sw.js"}
# The only addresses of machines that ask for no proof: each carries its own, or is public by its standard.
OPEN_TO_MACHINES = {
    "/api/federation/fetch",  # OpenID Federation 1.0, 8.1
    "/api/federation/list",  # OpenID Federation 1.0, 8.2
    "/api/federation/join",  # carries the city's self-signed statement
    "/api/federation/fhir/metadata",  # FHIR: the capability statement
    "/api/cards/status-list",  # Token Status List: a bit an index, names nobody
    "/api/transit/terminals/enrol",  # carries a one-time token
    "/api/ledger/key",  # what the city has signed about its books is for everybody
    "/api/ledger/cosigner",
    "/api/ledger/checkpoint",
    "/api/ledger/consistency",
    "/oauth/token",  # carries a signed assertion
    "/webhooks/stripe",  # carries Stripe's signature
}


class Door(NamedTuple):
    """One route in one method, with an address that fits it."""

    method: str
    path: str
    endpoint: str
    access: Access | None


class Place(NamedTuple):
    """A city or the hub with stand-ins for its views, and its own authenticators put aside."""

    app: Flask
    database: Database
    doors: list[Door]
    authenticators: dict[Caller, Authenticator]


@pytest.fixture(scope="module", params=PLACES)
def place(
    request: pytest.FixtureRequest, server_url: str, template: str, worker_id: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    url = fresh(server_url, template, f"access_{worker_id}")
    settings = make_settings(url, tmp_path_factory.mktemp("access"), city_code=PLACES[request.param])
    database = Database(url, pool_size=2)
    app = create_app(settings, database=database)
    app.config.update(TESTING=True, WTF_CSRF_ENABLED=False)
    limiter.enabled = False
    found = doors(app)
    stand_ins(app)
    yield Place(app, database, found, dict(app.extensions[AUTHENTICATORS]))
    database.close()


def doors(app: Flask) -> list[Door]:
    """Every route in every method that it takes."""
    adapter = app.url_map.bind("localhost")
    found = []
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static" or rule.endpoint.endswith(".static"):
            continue
        path = adapter.build(rule.endpoint, values(rule))
        access = access_of(app.view_functions[rule.endpoint])
        found += [Door(method, path, rule.endpoint, access) for method in METHODS if method in (rule.methods or ())]
    return sorted(found)


def values(rule: Rule) -> dict[str, object]:
    """A plausible value for each part of the address."""
    kinds = {name: type(part).__name__.removesuffix("Converter").lower() for name, part in rule._converters.items()}
    known = {"integer": "int"}
    return {name: VALUES.get(known.get(kind, kind), "x") for name, kind in kinds.items()}


def test_every_route_says_who_may_call_it(place: Place) -> None:
    assert [door.endpoint for door in place.doors if door.access is None] == []


def test_the_address_and_the_declaration_agree(place: Place) -> None:
    wrong = []
    for door in place.doors:
        assert door.access is not None
        begins = next((start for start in AUDIENCES if door.path == start or door.path.startswith(start + "/")), None)
        if begins is None or door.path in SCRIPTS:
            continue
        caller, roles = AUDIENCES[begins]
        if door.path.startswith(EVERYBODYS):
            fits = door.access.caller is Caller.PERSON
        else:
            fits = door.access.caller is caller and bool(door.access.roles) and door.access.roles <= (roles or frozenset())
        if not fits:
            wrong.append((door.path, door.access))
    assert wrong == []


def test_an_auditor_sees_the_books_and_changes_nothing(place: Place) -> None:
    theirs = [door for door in place.doors if door.access is not None and Role.AUDITOR in (door.access.roles or ())]
    assert {door.path for door in theirs if door.path.startswith("/staff/ledger")} >= {"/staff/ledger", "/staff/ledger/alarms"}
    assert [(door.method, door.path) for door in theirs if door.method != "GET"] == []
    books = [door for door in place.doors if door.path.startswith("/staff/ledger") and door.method == "GET"]
    assert [door.path for door in books if door not in theirs] == []


def test_what_changes_something_is_open_to_nobody_in_particular_only_where_it_is_listed(place: Place) -> None:
    """Anybody may read the public pages; only these addresses take something from anybody."""
    for_people = ("/sign-in", "/verify")
    wrong = []
    for door in place.doors:
        if door.access is None or door.access.caller is not Caller.ANYONE:
            continue
        machine = door.path.startswith(("/api/", "/oauth/", "/webhooks/"))
        if (machine and door.path not in OPEN_TO_MACHINES) or (
            door.method != "GET" and not machine and not door.path.startswith(for_people)
        ):
            wrong.append((door.method, door.path))
    assert wrong == []


def admitted(access: Access, caller: str) -> bool:
    """Whether this caller should get in."""
    if access.caller is Caller.ANYONE:
        return True
    if access.caller is Caller.PERSON:
        return caller in set(Role) and (not access.roles or caller in access.roles)
    return caller == access.caller


def stand_ins(app: Flask) -> None:
    """Replace every view by one that says that somebody is inside."""
    for endpoint, view in app.view_functions.items():

        def inside(**_: object) -> str:
            return "inside"

        inside.access = access_of(view)  # type: ignore[attr-defined]
        app.view_functions[endpoint] = inside


def come_as(place: Place, client: FlaskClient, caller: str) -> None:
    """Let the client call as ``caller``: a person signs in, a machine brings a proof that its authenticator knows."""
    if caller in set(Role):
        sign_in_as(client, place.database, Role(caller), organisation="x")
    every_scope = frozenset(door.access.scope for door in place.doors if door.access is not None and door.access.scope)
    scopes = frozenset() if caller == WITHOUT_SCOPE else every_scope
    for kind in MACHINES:
        mine = kind == caller or (kind is Caller.MACHINE and caller == WITHOUT_SCOPE)

        def authenticate(kind: Caller = kind, mine: bool = mine) -> Principal:
            if not mine:
                raise Unauthenticated
            return Principal(caller=kind, id="x", scopes=scopes)

        register_authenticator(place.app, kind, authenticate)


@pytest.mark.parametrize("caller", CALLERS)
def test_who_may_call_gets_in_and_nobody_else(place: Place, caller: str) -> None:
    client = place.app.test_client()
    come_as(place, client, caller)
    wrong = []
    for door in place.doors:
        assert door.access is not None
        answer = client.open(door.path, method=door.method)
        got_in = answer.status_code == 200
        refused = answer.status_code in (401, 403) or answer.headers.get("Location", "").startswith("/sign-in")
        if got_in is not admitted(door.access, caller) or got_in is refused:
            wrong.append((door.method, door.path, answer.status_code))
    assert wrong == []


def test_without_any_proof_every_machine_is_refused_by_its_own_authenticator(place: Place) -> None:
    place.app.extensions[AUTHENTICATORS].update(place.authenticators)
    wrong = []
    for door in place.doors:
        assert door.access is not None
        if door.access.caller not in MACHINES:
            continue
        for headers in (
            {},
            {"Authorization": "Bearer x"},
            {"Authorization": "COSE eA"},
            {"Signature": "x", "Signature-Input": "x"},
        ):
            answer = place.app.test_client().open(door.path, method=door.method, headers=headers)
            # a proof that cannot even be read may be called malformed instead of missing
            if answer.status_code not in (400, 401, 422) or answer.content_type != "application/problem+json":
                wrong.append((door.method, door.path, headers, answer.status_code))
    assert wrong == []


def test_a_person_who_is_not_signed_in_is_sent_to_sign_in_and_back(place: Place) -> None:
    wrong = []
    for door in place.doors:
        assert door.access is not None
        if door.access.caller is not Caller.PERSON or door.method != "GET" or door.path.startswith("/api/"):
            continue
        answer = place.app.test_client().get(door.path, headers={"Accept": "text/html"})
        if (answer.status_code, answer.headers.get("Location")) != (303, f"/sign-in?next={quote(door.path, safe='')}"):
            wrong.append((door.path, answer.status_code, answer.headers.get("Location")))
    assert wrong == []
