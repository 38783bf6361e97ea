"""The city's web application in which every purchase commits alone, in its caller's thread. For comparison only."""

from collections.abc import Sequence

from app.factory import create_app
from app.kernel import clock
from app.kernel.settings import Settings
from card import ledger
from card.ledger import Outcome, OutcomeStatus, Transfer
from card.ledger.poster import INFO, TIMEOUT_SECONDS, Then


class Alone(ledger.Poster):
    """Books each group in a transaction of its own, at once."""

    def post(
        self,
        transfers: Sequence[Transfer],
        *,
        then: Then | None = None,
        remember: bool = True,
        timeout_seconds: float = TIMEOUT_SECONDS,  # noqa: ARG002  nobody is waited for
    ) -> list[Outcome]:
        forget = () if remember else {transfer.id for transfer in transfers}
        with self._database.transaction() as session:
            outcomes = ledger.post_groups(session, [transfers], now=clock.now(), forget=forget)
            if then is not None and any(outcome.status is OutcomeStatus.POSTED for outcome in outcomes):
                then(session)
        return outcomes


application = create_app(Settings.from_env())
application.extensions["database"].info[INFO] = Alone(application.extensions["database"])
