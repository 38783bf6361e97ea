"""Taking papers in, handing them out with a record, issuing and withdrawing certificates."""

from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel import audit, ids, signing
from app.kernel.clock import civil_date
from services.documents import gateway, rules
from services.documents.models import Certificate, Document, DocumentAccess
from services.documents.queries import DocumentView, paper_view
from services.documents.rules import Letter, NoSuchDocument


def store(session: Session, *, owner_id: UUID, filename: str, content: bytes, accepts: tuple[str, ...], now: datetime) -> UUID:
    """Put a paper into a resident's wallet and answer its id; the same file twice is one paper.

    ``accepts`` are media types. Raises :class:`FileTooLarge`, :class:`FileKindRefused`, :class:`FileUnreadable`.
    """
    media_type = rules.admit(content, accepts)
    gateway.examine(content, media_type)
    digest = gateway.keep(gateway.desk_of(session).store, content)
    row = {
        "id": ids.new_id(),
        "owner_id": owner_id,
        "filename": rules.tidy_name(filename, media_type),
        "media_type": media_type.value,
        "size_bytes": len(content),
        "digest": digest,
        "stored_at": now,
    }
    session.execute(insert(Document).values(row).on_conflict_do_nothing())
    return session.scalars(select(Document.id).where(Document.owner_id == owner_id, Document.digest == digest)).one()


def read(session: Session, document_id: UUID, *, actor: str, purpose: str, now: datetime) -> tuple[DocumentView, bytes]:
    """A paper and its bytes; the look is recorded. The caller has checked that ``actor`` may see it."""
    row = session.get(Document, document_id)
    if row is None:
        raise NoSuchDocument(str(document_id))
    session.add(DocumentAccess(document_id=document_id, actor=actor, purpose=purpose, at=now))
    return paper_view(row), gateway.fetch(gateway.desk_of(session).store, row.digest)


def issue(session: Session, *, subject: str, holder_id: UUID, holder_name: str, letter: Letter, now: datetime) -> UUID:
    """Issue the letter as a signed PDF and answer the certificate's id. One certificate a ``subject``: a repeat is quiet."""
    known = session.scalars(select(Certificate.id).where(Certificate.subject == subject)).one_or_none()
    if known is not None:
        return known
    desk = gateway.desk_of(session)
    certificate_id = ids.new_id()
    number = rules.fresh_number(desk.city_code, civil_date(now))
    claims = rules.claims(
        certificate_id=certificate_id,
        number=number,
        city_code=desk.city_code,
        issuer=desk.public_url,
        letter=letter,
        holder_name=holder_name,
        issued_at=now,
    )
    token = signing.sign_jws(desk.token_key, claims, typ=rules.TOKEN_TYPE)
    address = f"{desk.public_url}/verify/{certificate_id}"
    # The token stands behind the #: a browser that opens the address does not send it to anybody.
    plain = gateway.press(
        desk, letter, number=number, address=f"{desk.public_url}/verify", qr_text=f"{address}#{token}", issued_at=now
    )
    signed = gateway.seal(desk, plain, reason=letter.title.en)
    session.add(
        Certificate(
            id=certificate_id,
            number=number,
            subject=subject,
            holder_id=holder_id,
            holder_name=holder_name,
            title_en=letter.title.en,
            title_zh=letter.title.zh,
            content=asdict(letter),
            token=token,
            digest=gateway.keep(desk.store, signed),
            issued_at=now,
        )
    )
    session.flush()
    audit.record(session, actor="system", action="certificate.issue", subject=f"certificate:{certificate_id}", at=now)
    return certificate_id


def withdraw(session: Session, certificate_id: UUID, *, because: str, by: str, now: datetime) -> None:
    """Say from now on that the certificate no longer stands, and why. Withdrawing twice keeps the first reason."""
    row = session.get(Certificate, certificate_id, with_for_update=True)
    if row is None:
        raise NoSuchDocument(str(certificate_id))
    if row.withdrawn_at is None:
        row.withdrawn_at, row.withdrawn_because, row.withdrawn_by = now, because, by
        audit.record(session, actor=by, action="certificate.withdraw", subject=f"certificate:{certificate_id}", at=now)
