"""Every table of the product, imported in one place for migrations and the drift test."""

import app.kernel.audit
import app.kernel.outbox
import app.web.idempotency
import app.web.oauth.models
import card.benefits.models
import card.cards.models
import card.clearing.models
import card.health.models
import card.ledger.models
import card.partners.models
import card.purchases.models
import card.transit.models
import services.applications.models
import services.catalogue.models
import services.documents.models
import services.messages.models
import services.payments.models
import services.people.models
import services.registries.models
