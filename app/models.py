"""Every table of the product, imported in one place for migrations and the drift test."""

import app.kernel.audit
import app.kernel.outbox
import app.web.idempotency  # noqa: F401
