"""The chart of accounts: each function describes one account; ``open_account`` opens it.

Ids of holders, operators, hospitals and merchants are whatever their own room calls them (a UUID or a code); the ledger knows
no names. Guarded accounts belong to people and are never overdrawn; all others are open.
"""

from uuid import UUID

from card.ledger.rules import AccountKind, AccountSpec

Owner = UUID | str


def _guarded(kind: AccountKind, owner: Owner) -> AccountSpec:
    return AccountSpec(key=f"{kind}:{owner}", kind=kind, guarded=True)


def _open(kind: AccountKind, owner: Owner | None = None) -> AccountSpec:
    return AccountSpec(key=str(kind) if owner is None else f"{kind}:{owner}", kind=kind)


def purse(holder_id: Owner) -> AccountSpec:
    """The holder's spendable money on the card (电子钱包)."""
    return _guarded(AccountKind.PURSE, holder_id)


def purse_key(holder: str) -> str:
    """The key of a :func:`purse` in SQL, of the holder that the SQL expression ``holder`` gives."""
    return f"'{AccountKind.PURSE}:' || ({holder})"


def medical(holder_id: Owner) -> AccountSpec:
    """The holder's personal account of the medical insurance (个人账户)."""
    return _guarded(AccountKind.MEDICAL, holder_id)


def family(holder_id: Owner) -> AccountSpec:
    """The family account that relatives may spend for care (家庭共济账户)."""
    return _guarded(AccountKind.FAMILY, holder_id)


def earmarked(holder_id: Owner, purse_id: UUID) -> AccountSpec:
    """Money of the holder that may only be spent as its grant says (专用钱包); each grant has a purse of its own."""
    return _guarded(AccountKind.EARMARKED, f"{holder_id}/{purse_id}")


def receivable(holder_id: Owner) -> AccountSpec:
    """What the holder owes the city: rides accepted offline that the purse could not pay. Its balance is negative or zero."""
    return _open(AccountKind.RECEIVABLE, holder_id)


def operator(operator_id: Owner) -> AccountSpec:
    """A transit operator's revenue, owed to it until paid out."""
    return _open(AccountKind.OPERATOR, operator_id)


def hospital(hospital_id: Owner) -> AccountSpec:
    """What is owed to a hospital or pharmacy."""
    return _open(AccountKind.HOSPITAL, hospital_id)


def merchant(merchant_id: Owner) -> AccountSpec:
    """What is owed to a merchant or utility."""
    return _open(AccountKind.MERCHANT, merchant_id)


def due_to(city: str) -> AccountSpec:
    """What this city owes the city with the six-digit code ``city``."""
    return _open(AccountKind.DUE_TO, city)


def due_from(city: str) -> AccountSpec:
    """What the city with the six-digit code ``city`` owes this one. Its balance is negative or zero."""
    return _open(AccountKind.DUE_FROM, city)


def settlement() -> AccountSpec:
    """Money on its way between cities through the hub's netting."""
    return _open(AccountKind.SETTLEMENT)


def stripe_clearing() -> AccountSpec:
    """Money that Stripe has taken and not yet paid to the bank. Its balance is negative or zero."""
    return _open(AccountKind.STRIPE_CLEARING)


def bank() -> AccountSpec:
    """The city's account at its bank, seen from here: negative is money we have there."""
    return _open(AccountKind.BANK)


def fees() -> AccountSpec:
    """Fees of government services received."""
    return _open(AccountKind.FEES)


def pooled_fund(scheme: str) -> AccountSpec:
    """The pooled fund (统筹基金) of an insurance scheme."""
    return _open(AccountKind.POOLED_FUND, scheme)


def catastrophic_fund(scheme: str) -> AccountSpec:
    """The catastrophic-illness fund (大病保险) of an insurance scheme."""
    return _open(AccountKind.CATASTROPHIC_FUND, scheme)


def pension_fund() -> AccountSpec:
    """The pension fund."""
    return _open(AccountKind.PENSION_FUND)


def allowance_fund() -> AccountSpec:
    """The budget from which allowances are paid."""
    return _open(AccountKind.ALLOWANCE_FUND)


def suspense() -> AccountSpec:
    """Money whose owner is not yet known, or credited provisionally while a dispute runs."""
    return _open(AccountKind.SUSPENSE)


def clearing_fees() -> AccountSpec:
    """Fees of the clearing between cities."""
    return _open(AccountKind.CLEARING_FEES)


def provider_fees() -> AccountSpec:
    """What payment providers charge the city."""
    return _open(AccountKind.PROVIDER_FEES)


def losses() -> AccountSpec:
    """What the city bears: rides never paid, copied codes, suspense nobody else answers for. Negative or zero."""
    return _open(AccountKind.LOSSES)


def between_shards(other: int, *, kept_in: int) -> AccountSpec:
    """In one shard, what came from or went to another: together with its counterpart there it is zero once all has arrived."""
    return AccountSpec(key=f"{AccountKind.SHARD}:{other}", kind=AccountKind.SHARD, shard=kept_in)
