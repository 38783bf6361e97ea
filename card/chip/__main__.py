"""``python -m card.chip``: a virtual card in a virtual reader, and what a card says of itself."""

import argparse
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from card.chip.applet import Applet
from card.chip.conversation import CardGone, CardRefused, Conversation
from card.chip.memory import FileMemory
from card.chip.pcsc import NoReader, Reader, readers
from card.chip.presence import VPCD_PORT, Presence

HOST: Final = "127.0.0.1"


def present(given: argparse.Namespace) -> None:
    """Hold the card in FILE to a virtual reader until interrupted. Without FILE's content it is a blank card."""
    applet = Applet(FileMemory(given.image))
    if given.connect:
        with socket.create_connection((HOST, given.port)) as connection:
            Presence(applet, connection).stay()
        return
    with socket.create_server((HOST, given.port), reuse_port=False) as server:
        while True:
            connection, _ = server.accept()
            Presence(applet, connection).stay()


def show(given: argparse.Namespace) -> None:
    """Say what the card in the field says of itself, and how long its credential is."""
    with Reader(given.reader) as reader, reader.field() as field:
        found = Conversation(field.transmit).select()
    sys.stdout.write(f"{reader.name}: {found.number or 'blank'}, credential of {found.credential_bytes} bytes\n")


def list_readers(given: argparse.Namespace) -> None:
    """Name the readers."""
    del given
    sys.stdout.writelines(f"{name}\n" for name in readers())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m card.chip", description="Chip cards, real and virtual.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    presenting = verbs.add_parser("present", help=present.__doc__)
    presenting.add_argument("image", type=Path, help="the card's memory; made when it is missing")
    presenting.add_argument("--port", type=int, default=VPCD_PORT, help=f"vpcd's port on this machine (default {VPCD_PORT})")
    presenting.add_argument("--connect", action="store_true", help="vpcd listens (its default); else it calls us")
    presenting.set_defaults(run=present)
    showing = verbs.add_parser("show", help=show.__doc__)
    showing.add_argument("--reader", default="", help="the reader's name or its beginning; else the first")
    showing.set_defaults(run=show)
    verbs.add_parser("readers", help=list_readers.__doc__).set_defaults(run=list_readers)
    given = parser.parse_args(arguments)
    try:
        given.run(given)
    except KeyboardInterrupt:
        return 0
    except (NoReader, CardGone, CardRefused) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
