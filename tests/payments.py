"""localstripe as a process of its own, as a city's Stripe account. It is never imported."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import httpx
from flask import Flask
from werkzeug.serving import make_server

from app.kernel.db import Database
from services.payments import gateway
from tests.cities import free_port

SECRET = "whsec_demo"


@contextmanager
def localstripe() -> Iterator[str]:
    """A Stripe server of our own; its address."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "localstripe", "--port", str(port), "--from-scratch"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://localhost:{port}"
    try:
        for _ in range(150):
            try:
                httpx.get(f"{address}/js.stripe.com/v3/", timeout=1)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            raise AssertionError("localstripe did not start")
        yield address
    finally:
        process.terminate()
        process.wait()


def use(database: Database, address: str) -> None:
    """Let the city's payments go to ``address``."""
    database.info[gateway.INFO] = gateway.Account(
        api_base=address, public_base=address, secret_key="sk_test_demo", publishable_key="pk_test_demo", webhook_secret=SECRET
    )


@contextmanager
def listening(app: Flask, address: str) -> Iterator[str]:
    """The city served over HTTP, with Stripe told where to send events; its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    here = f"http://127.0.0.1:{server.server_port}"
    httpx.post(f"{address}/_config/webhooks/city", json={"url": f"{here}/webhooks/stripe", "secret": SECRET}).raise_for_status()
    try:
        yield here
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
