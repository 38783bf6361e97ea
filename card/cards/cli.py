"""``flask cards …``: write the city's cards onto chips, renew them, equip terminals' secure modules."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import click
from flask import current_app
from flask.cli import with_appcontext

from app.kernel import clock
from app.kernel.city import city_from
from app.kernel.db import Database
from app.kernel.settings import Settings
from card.cards import actions, queries
from card.cards.chip_keys import journey_keys, master
from card.chip import Applet, CardGone, CardIsWrong, CardRefused, Conversation, FileMemory, KeyUse, NoReader, Reader

BY = "system:personalisation"


def _database() -> Database:
    return cast("Database", current_app.extensions["database"])


@click.group("cards")
def group() -> None:
    """Chips: personalise, renew, equip terminals."""


@contextmanager
def _card(reader: str, image: Path | None) -> Iterator[Conversation]:
    """The card in the field, selected."""
    try:
        if image is not None:
            conversation = Conversation(Applet(FileMemory(image)).process)
            conversation.select()
            yield conversation
            return
        with Reader(reader) as found, found.field() as field:
            conversation = Conversation(field.transmit)
            conversation.select()
            yield conversation
    except NoReader as error:
        raise click.ClickException(str(error)) from error
    except CardGone as error:
        raise click.ClickException(f"the card left the field: {error}") from error
    except (CardRefused, CardIsWrong) as error:
        raise click.ClickException(f"the card refused: {error}") from error


@group.command("personalise")
@click.argument("number")
@click.option("--reader", default="", help="The PC/SC reader's name, or its beginning; without it, the first.")
@click.option("--image", type=click.Path(path_type=Path), help="A virtual card's memory file instead of a reader.")
@with_appcontext
def personalise(number: str, reader: str, image: Path | None) -> None:
    """Make the blank chip in the field the plastic card NUMBER."""
    city = city_from(cast("Settings", current_app.extensions["settings"]))
    with _card(reader, image) as chip:
        public = chip.make_key()  # a chip that is a card already refuses here
        with _database().transaction() as session:
            card = queries.by_number(session, number)
            made = actions.bind_chip(session, card_id=card.id, public_key=public, by=BY, now=clock.now())
            actions.publish_deny_list(session, now=clock.now())
        journey_key, admin_key = journey_keys(city, made.number)
        try:
            chip.personalise(number=made.number, journey_key=journey_key, admin_key=admin_key, credential=made.credential)
        except Exception:
            with _database().transaction() as session:  # what may be on that chip opens nothing
                actions.block_device(session, device_id=made.device_id, by=BY, now=clock.now())
            raise
    click.echo(f"{made.number} is on the chip; renew it before {made.good_until.date().isoformat()}")


@group.command("renew")
@click.option("--reader", default="", help="The PC/SC reader's name, or its beginning; without it, the first.")
@click.option("--image", type=click.Path(path_type=Path), help="A virtual card's memory file instead of a reader.")
@with_appcontext
def renew(reader: str, image: Path | None) -> None:
    """Bring today's credential and entitlements onto the chip in the field."""
    city = city_from(cast("Settings", current_app.extensions["settings"]))
    with _card(reader, image) as chip:
        number = chip.select().number
        with _database().transaction() as session:
            card = queries.by_number(session, number)
            made = actions.renew_chip(session, card_id=card.id, by=BY, now=clock.now())
        chip.authenticate(journey_keys(city, made.number)[1], KeyUse.ADMIN)
        chip.renew(made.credential)
    click.echo(f"{made.number} is good until {made.good_until.date().isoformat()}")


@group.command("secure-module")
@with_appcontext
def secure_module() -> None:
    """Print the journey master as a terminal's secure module file holds it. Keep it as secret as it is."""
    city = city_from(cast("Settings", current_app.extensions["settings"]))
    click.echo(json.dumps({city.code: master(city, KeyUse.JOURNEY).hex()}))
