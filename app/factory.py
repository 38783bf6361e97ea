"""The composition root: the one place that knows every part."""

from flask.templating import DispatchingJinjaLoader
from flask_openapi3 import Info, OpenAPI
from jinja2 import ChoiceLoader, PackageLoader, PrefixLoader

from app import cli
from app.kernel import city, logs
from app.kernel.db import Database, Right
from app.kernel.sealing import equip, sealer_from
from app.kernel.settings import Settings
from app.web import auth, health, i18n, oauth, problems, security, streams
from card import ledger
from card.cards import api as cards_api
from card.clearing import api as clearing_api
from card.health import api as health_api
from card.ledger import api as ledger_api
from card.partners import api as partners_api
from card.purchases import api as purchases_api
from card.transit import api as transit_api
from portal import kit
from portal.hospital import desk as hospital_desk
from portal.operator import books as operator_books
from portal.operator import console, inspect, tariff_editor
from portal.operator import taps as operator_taps
from portal.operator import watch as operator_watch
from portal.partner import clearing as partner_clearing
from portal.public import pages, reference, sessions, sign_in, verify
from portal.public import services as services_screen
from portal.resident import applications as applications_screen
from portal.resident import apply, home, phone, top_up
from portal.resident import benefits as benefits_screen
from portal.resident import bills as bills_screen
from portal.resident import card as resident_card
from portal.resident import data as data_screen
from portal.resident import documents as wallet
from portal.resident import health as health_screen
from portal.resident import journeys as journeys_screen
from portal.resident import messages as messages_screen
from portal.resident import payments as payments_screen
from portal.resident import receipts as resident_receipts
from portal.resident import security as security_screen
from portal.resident import statements as resident_statements
from portal.staff import cards as staff_cards
from portal.staff import cases, hub
from portal.staff import clearing as staff_clearing
from portal.staff import close as staff_close
from portal.staff import filings as staff_filings
from portal.staff import home as staff_home
from portal.staff import ledger as staff_ledger
from portal.staff import payment_runs as staff_payment_runs
from portal.staff import people as staff_people
from portal.staff import rides as staff_rides
from portal.staff import statements as staff_statements
from services import documents, messages, payments
from services.payments import api as payments_api

API_VERSION = "1.0.0"


def create_app(settings: Settings, *, database: Database | None = None) -> OpenAPI:
    """One city (or the hub) as a WSGI application."""
    logs.configure(settings.log_level)
    app = OpenAPI(
        "portal",
        info=Info(title="Unified citizen card API", version=API_VERSION),
        static_folder="static",
        template_folder="templates",
        doc_ui=False,
        validation_error_model=problems.Problem,
        validation_error_callback=lambda error: problems.answer(problems.invalid_from(error)),
    )
    govuk = PrefixLoader({"govuk_frontend_jinja": PackageLoader("govuk_frontend_jinja")})
    app.jinja_env.loader = ChoiceLoader([DispatchingJinjaLoader(app), govuk])
    app.extensions["settings"] = settings
    app.extensions["database"] = database or Database.of(settings, Right.APPLICATION)
    equip(app.extensions["database"], sealer_from(settings))
    city.equip(app.extensions["database"], city.city_from(settings))
    documents.equip(app.extensions["database"], settings)
    messages.equip(app.extensions["database"], settings)
    payments.equip(app.extensions["database"], settings)
    security.install(app, settings)
    streams.install(app, settings)
    i18n.install(app)
    sessions.install(app)
    auth.install(app)
    oauth.install(app)
    problems.install(app)
    kit.install(app)
    app.register_blueprint(health.blueprint)
    register(app, settings)
    cli.install(app)
    return app


def register(app: OpenAPI, settings: Settings) -> None:
    """Mount the APIs and screens. Blueprints only; grouped by floor."""
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(reference.blueprint)
    partners_api.install(app, settings)
    app.register_api(partners_api.blueprint)
    app.register_api(ledger_api.blueprint)
    ledger.measure(app.extensions["database"])
    if not settings.is_hub:
        transit_api.install(app)
        app.register_api(cards_api.blueprint)
        app.register_api(transit_api.blueprint)
        app.register_api(payments_api.blueprint)
        app.register_api(health_api.federation)
        app.register_api(health_api.hospitals)
        app.register_api(purchases_api.blueprint)
        for screen in (
            home,
            resident_card,
            resident_statements,
            resident_receipts,
            phone,
            top_up,
            payments_screen,
            data_screen,
            staff_people,
            staff_cards,
        ):
            app.register_blueprint(screen.blueprint)
        app.register_blueprint(inspect.blueprint)
        for screen in (services_screen, apply, applications_screen, wallet, cases, journeys_screen, console, tariff_editor):
            app.register_blueprint(screen.blueprint)
        for screen in (operator_taps, operator_books, operator_watch, staff_rides):
            app.register_blueprint(screen.blueprint)
        for screen in (hospital_desk, health_screen, benefits_screen, bills_screen, staff_payment_runs, staff_filings):
            app.register_blueprint(screen.blueprint)
    app.register_api(clearing_api.blueprint)
    for shared in (verify, sign_in, security_screen, messages_screen, staff_home, staff_ledger, staff_statements, staff_close):
        app.register_blueprint(shared.blueprint)
    app.register_blueprint(staff_clearing.blueprint)
    if settings.is_hub:
        app.register_blueprint(hub.blueprint)
    else:
        app.register_blueprint(partner_clearing.blueprint)
