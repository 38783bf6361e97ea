"""Reading the wallet, the certificates, and what the city says of a document that somebody shows."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel import signing
from app.kernel.signing import BadSignature
from services.documents import gateway, rules
from services.documents.models import Certificate, Document, DocumentAccess
from services.documents.rules import Both, NoSuchDocument, Standing


@dataclass(frozen=True, kw_only=True)
class DocumentView:
    """A paper in a wallet."""

    id: UUID
    owner_id: UUID
    filename: str
    media_type: str
    size_bytes: int
    stored_at: datetime

    @property
    def is_picture(self) -> bool:
        """Whether a browser shows it as a picture."""
        return self.media_type.startswith("image/")


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at a paper."""

    actor: str
    purpose: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class CertificateView:
    """A document that the city issued."""

    id: UUID
    number: str
    subject: str
    holder_id: UUID
    holder_name: str
    title: Both
    sentence: Both
    issued_at: datetime
    withdrawn_at: datetime | None
    withdrawn_because: str | None

    @property
    def holder_masked(self) -> str:
        """The holder's name for somebody who only knows the number."""
        return rules.masked(self.holder_name)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What the city says: how the document stands, what it is, and whether whoever asks has shown the document itself."""

    standing: Standing
    certificate: CertificateView | None = None
    document_shown: bool = False


def paper_view(row: Document) -> DocumentView:
    """A row as others may know it."""
    return DocumentView(
        id=row.id,
        owner_id=row.owner_id,
        filename=row.filename,
        media_type=row.media_type,
        size_bytes=row.size_bytes,
        stored_at=row.stored_at,
    )


def _issued(row: Certificate) -> CertificateView:
    return CertificateView(
        id=row.id,
        number=row.number,
        subject=row.subject,
        holder_id=row.holder_id,
        holder_name=row.holder_name,
        title=Both(en=row.title_en, zh=row.title_zh),
        sentence=Both(en=row.content["sentence"]["en"], zh=row.content["sentence"]["zh"]),
        issued_at=row.issued_at,
        withdrawn_at=row.withdrawn_at,
        withdrawn_because=row.withdrawn_because,
    )


def wallet(session: Session, owner_id: UUID) -> list[DocumentView]:
    """A resident's papers, the newest first."""
    rows = session.scalars(
        select(Document).where(Document.owner_id == owner_id).order_by(Document.stored_at.desc(), Document.id.desc())
    )
    return [paper_view(row) for row in rows]


def papers(session: Session, ids: list[UUID]) -> dict[UUID, DocumentView]:
    """These papers by id; what does not exist is left out."""
    return {row.id: paper_view(row) for row in session.scalars(select(Document).where(Document.id.in_(ids)))}


def own(session: Session, document_id: UUID, *, owner_id: UUID) -> tuple[DocumentView, bytes]:
    """A resident's own paper and its bytes; looking at one's own is not recorded. Raises :class:`NoSuchDocument`."""
    row = session.get(Document, document_id)
    if row is None or row.owner_id != owner_id:
        raise NoSuchDocument(str(document_id))
    return paper_view(row), gateway.fetch(gateway.desk_of(session).store, row.digest)


def looks(session: Session, document_id: UUID, *, owner_id: UUID) -> list[Look]:
    """Who looked at a paper, for its owner. Raises :class:`NoSuchDocument` for anybody else."""
    paper = session.get(Document, document_id)
    if paper is None or paper.owner_id != owner_id:
        raise NoSuchDocument(str(document_id))
    rows = session.scalars(
        select(DocumentAccess).where(DocumentAccess.document_id == document_id).order_by(DocumentAccess.id.desc()).limit(200)
    )
    return [Look(actor=row.actor, purpose=row.purpose, at=row.at) for row in rows]


def certificates_of(session: Session, holder_id: UUID) -> list[CertificateView]:
    """What the city issued to a person, the newest first."""
    rows = session.scalars(select(Certificate).where(Certificate.holder_id == holder_id).order_by(Certificate.id.desc()))
    return [_issued(row) for row in rows]


def certificate_about(session: Session, subject: str) -> CertificateView | None:
    """The certificate about ``subject`` (``application:<id>``), if it has been issued."""
    row = session.scalars(select(Certificate).where(Certificate.subject == subject)).one_or_none()
    return _issued(row) if row else None


def certificate_file(session: Session, certificate_id: UUID) -> bytes:
    """The signed PDF. The caller has checked that it may be seen. Raises :class:`NoSuchDocument`."""
    row = session.get(Certificate, certificate_id)
    if row is None:
        raise NoSuchDocument(str(certificate_id))
    return gateway.fetch(gateway.desk_of(session).store, row.digest)


def root_certificate(session: Session) -> bytes:
    """The city's document root as PEM."""
    return gateway.root_pem(gateway.desk_of(session))


def token_keys(session: Session) -> dict[str, list[dict[str, object]]]:
    """The public key of the QR's tokens as a JSON Web Key Set."""
    return {"keys": [gateway.desk_of(session).token_key.jwk]}


def _standing(row: Certificate) -> Standing:
    return Standing.VALID if row.withdrawn_at is None else Standing.WITHDRAWN


def verify_text(session: Session, text: str) -> Verification:
    """What the city says of an id, a number, or the text of a QR code."""
    key, token = rules.shown(text)
    shown = False
    if token is not None:
        desk = gateway.desk_of(session)
        try:
            said = signing.read_jws(token, {desk.token_key.kid: desk.token_key.public}, typ=rules.TOKEN_TYPE)
        except BadSignature:
            return Verification(standing=Standing.UNKNOWN)
        if isinstance(key, UUID) and str(key) != said.get("jti"):
            return Verification(standing=Standing.ALTERED)  # one document's code with another's address
        key, shown = UUID(str(said["jti"])), True
    if key is None:
        return Verification(standing=Standing.UNKNOWN)
    column = Certificate.id if isinstance(key, UUID) else Certificate.number
    row = session.scalars(select(Certificate).where(column == key)).one_or_none()
    if row is None:
        return Verification(standing=Standing.UNKNOWN)
    return Verification(standing=_standing(row), certificate=_issued(row), document_shown=shown)


def verify_file(session: Session, content: bytes) -> Verification:
    """What the city says of a file: byte for byte one of ours, ours but changed, or not ours."""
    digest = hashlib.sha256(content).hexdigest()
    row = session.scalars(select(Certificate).where(Certificate.digest == digest)).one_or_none()
    if row is not None:
        return Verification(standing=_standing(row), certificate=_issued(row), document_shown=True)
    ours = gateway.sealed_whole(gateway.desk_of(session), content) is not None
    return Verification(standing=Standing.ALTERED if ours else Standing.UNKNOWN)
