"""``python -m card.validator``: the program at a gate. Exit status: 0 done, 2 used wrongly, 3 refused, 4 no network."""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from card.chip import NoReader
from card.credentials import CredentialRefused, TapKind, numbers
from card.validator import contactless, scanner, service, speech, station
from card.validator.gateway import CityRefused, CityUnreachable
from card.validator.terminal import BATCH, NotEnrolled, Outcome, Terminal

DONE: Final = 0
WRONG: Final = 2
REFUSED: Final = 3
OFFLINE: Final = 4


def _say(said: str) -> None:
    sys.stdout.write(said + "\n")
    sys.stdout.flush()


def enrol(terminal: Terminal, given: argparse.Namespace) -> None:
    """Trade a one-time token for a certificate, then fetch the first bundle."""
    found = terminal.enrol(given.server, given.token)
    terminal.sync()
    facts = {
        "terminal_id": found.terminal_id,
        "operator_id": found.operator_id,
        "city": found.city,
        "stop_id": found.stop_id,
        "line": found.line,
        "certificate_until": found.expires_at.isoformat(),
    }
    _facts(given, facts, f"enrolled as {found.terminal_id} of {found.operator_id} at {found.stop_id or found.line}")


def sync(terminal: Terminal, given: argparse.Namespace) -> None:
    """Fetch bundle and deny list."""
    found = terminal.sync()
    said = f"bundle {found.bundle_seq}, deny list {found.list_seq} with {found.denied} entries, skew {found.skew_ms} ms"
    _facts(given, asdict(found), said)


def decide(terminal: Terminal, given: argparse.Namespace) -> None:
    """Decide on codes from standard input, on those in a picture, or on chips at a reader."""
    kind = TapKind(given.kind) if given.kind else None
    if given.chip:
        contactless.serve(terminal, home=given.home, reader=given.reader, once=given.once, kind=kind, say=_speaker(given))
        return
    codes = scanner.picture(given.image) if given.image else scanner.lines(sys.stdin)
    any_code = False
    for code in codes:
        any_code = True
        outcome = terminal.decide(code, kind=kind)
        _say(speech.document(outcome) if given.json else speech.line(outcome))
    if given.image and not any_code:
        raise SystemExit(f"{given.image}: no QR code found · 未找到二维码")


def _speaker(given: argparse.Namespace) -> Callable[[Outcome | None], None]:
    """Says each outcome at the reader; none is a card that left too early."""

    def say(outcome: Outcome | None) -> None:
        if outcome is None:
            _say(speech.again(as_json=given.json))
        else:
            _say(speech.document(outcome) if given.json else speech.line(outcome))

    return say


def inspect(terminal: Terminal, given: argparse.Namespace) -> None:
    """Look at codes without recording a tap: for inspectors, printed cards too."""
    codes = scanner.picture(given.image) if given.image else scanner.lines(sys.stdin)
    for code in codes:
        shown, reason = terminal.inspect(code)
        held = [] if shown is None else [held.code for held in shown.static.entitlements]
        facts = {
            "valid": reason is None,
            "reason": reason or "",
            "card_number": shown.number if shown else "",
            "entitlements": held,
        }
        named = numbers.masked(shown.number) if shown else ""
        said = "✓ 有效 · valid" if reason is None else f"✗ 无效 · not valid [{reason}]"
        _facts(given, facts, f"{said}  {named}  {' '.join(held)}".rstrip())


def run(terminal: Terminal, given: argparse.Namespace) -> None:
    """Serve at a gate until told to stop: decide, poll, upload, renew."""
    terminal.certificate  # noqa: B018  raises NotEnrolled before anything starts
    stop = _stopped_by_signals()
    if given.serial:
        codes = scanner.device_lines(scanner.open_serial(given.serial, baud=given.baud), stop)
    elif given.wedge:
        codes = scanner.wedge_lines(scanner.open_wedge(given.wedge), stop)
    else:
        codes = scanner.device_lines(sys.stdin.fileno(), stop)
    service.run(
        given.home,
        codes,
        say=_speaker(given),
        stop=stop,
        kind=TapKind(given.kind) if given.kind else None,
        hub=_address(given.hub) if given.hub else None,
        poll_s=given.poll,
        upload_s=given.upload_every,
        log=_log,
    )


def hub(terminal: Terminal, given: argparse.Namespace) -> None:
    """Let the gates of this station tell each other which codes were used."""
    terminal.certificate  # noqa: B018  raises NotEnrolled before anything starts
    host, port = _address(given.listen)
    made, stop = station.Hub(given.home, host=host, port=port), _stopped_by_signals()
    _log(f"station hub on port {made.port}")
    made.serve(stop)


def _stopped_by_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return (host or port, int(port) if host else station.PORT)


def _log(said: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {said}\n")
    sys.stderr.flush()


def upload(terminal: Terminal, given: argparse.Namespace) -> None:
    """Send what waits."""
    found = terminal.upload(batch=given.batch)
    said = f"{found.stored} stored, {found.repeated} repeated, {found.refused} refused, {found.waiting} waiting"
    _facts(given, asdict(found), said)


def status(terminal: Terminal, given: argparse.Namespace) -> None:
    """Say how things stand."""
    found = asdict(terminal.state())
    for name in ("certificate_until", "synced_at"):
        found[name] = found[name].isoformat() if found[name] else None
    _facts(given, found, "\n".join(f"{name:18} {value}" for name, value in found.items()))


def _facts(given: argparse.Namespace, facts: Mapping[str, object], said: str) -> None:
    _say(json.dumps(facts, ensure_ascii=False) if given.json else said)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--home",
        type=Path,
        default=Path(os.environ.get("VALIDATOR_HOME", "validator")),
        help="folder of this terminal's key and journal (VALIDATOR_HOME; default ./validator)",
    )
    common.add_argument("--json", action="store_true", help="one JSON document a line")
    parser = argparse.ArgumentParser(prog="python -m card.validator", description="A terminal at a gate or on a bus.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, run: Callable[[Terminal, argparse.Namespace], None]) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, parents=[common], help=(run.__doc__ or "").rstrip("."))
        made.set_defaults(run=run)
        return made

    enrolling = verb("enrol", enrol)
    enrolling.add_argument("--server", required=True, help="the city's address, as in http://localhost:8001")
    enrolling.add_argument("--token", required=True, help="the one-time token from the operator's console")
    verb("sync", sync)
    deciding = verb("decide", decide)
    deciding.add_argument("--image", type=Path, help="a picture with a QR instead of standard input")
    deciding.add_argument("--chip", action="store_true", help="chips at a PC/SC reader, one after another")
    deciding.add_argument("--reader", default="", help="the reader's name or its beginning; else the first")
    deciding.add_argument("--once", action="store_true", help="end after one chip")
    deciding.add_argument("--kind", choices=[kind.value for kind in TapKind], help="what a tap is; else as the bundle says")
    looking = verb("inspect", inspect)
    looking.add_argument("--image", type=Path, help="a picture with a QR instead of standard input")
    sending = verb("upload", upload)
    sending.add_argument("--batch", type=int, default=BATCH, help=f"records a request (default {BATCH})")
    verb("status", status)
    serving = verb("run", run)
    source = serving.add_mutually_exclusive_group()
    source.add_argument("--serial", type=Path, help="a serial scanner, as /dev/ttyACM0, instead of standard input")
    source.add_argument("--wedge", type=Path, help="a scanner that types, as /dev/input/event3, instead of standard input")
    serving.add_argument("--baud", type=int, default=115_200, help="of the serial scanner (default 115200)")
    serving.add_argument("--kind", choices=[kind.value for kind in TapKind], help="what a tap is; else as the bundle says")
    serving.add_argument("--hub", metavar="HOST[:PORT]", help="the station's hub")
    serving.add_argument("--poll", type=float, default=service.POLL_S, help="seconds between polls (default 300)")
    serving.add_argument("--upload-every", type=float, default=service.UPLOAD_S, help="seconds between uploads (default 15)")
    joining = verb("hub", hub)
    joining.add_argument("--listen", default=f"0.0.0.0:{station.PORT}", metavar="HOST:PORT", help="address to listen on")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; the exit status."""
    given = _parser().parse_args(arguments)
    terminal = Terminal(given.home)
    try:
        given.run(terminal, given)
    except NotEnrolled as error:
        return _fail(WRONG, f"{error}: this folder holds no terminal; enrol first · 尚未注册")
    except NoReader as error:
        return _fail(WRONG, f"{error} · 没有读卡器")
    except CityUnreachable as error:
        return _fail(OFFLINE, f"no network: {error} · 网络不通")
    except (CityRefused, CredentialRefused) as error:
        return _fail(REFUSED, f"refused: {error} · 被拒绝")
    finally:
        terminal.close()
    return DONE


def _fail(status: int, said: str) -> int:
    sys.stderr.write(said + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
