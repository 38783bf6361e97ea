"""Papers are kept once and their readers recorded; certificates are verified by anybody, online and offline."""

import dataclasses
import io
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pypdfium2
import pytest
import zxingcpp
from PIL import Image
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko_certvalidator import ValidationContext
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.kernel import ids, signing
from app.kernel.db import Database
from app.kernel.settings import Settings
from services import documents
from services.documents import Both, FileUnreadable, Letter, NoSuchDocument, Standing, gateway

NOW = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
PICTURES = ("image/jpeg", "image/png")
LETTER = Letter(
    title=Both(en="Decision on the application for a citizen card", zh="市民卡申领决定书"),
    sentence=Both(en="The application of Demo Lin is approved.", zh="准予演示·林小满的市民卡申领，予以发卡。"),
    facts=((Both(en="Applicant", zh="申请人"), Both(en="Demo Lin", zh="演示·林小满")),),
)


@pytest.fixture(autouse=True)
def desk(database: Database, settings: Settings) -> None:
    documents.equip(database, settings)


def picture(colour: str = "teal") -> bytes:
    drawn = io.BytesIO()
    Image.new("RGB", (40, 60), colour).save(drawn, "PNG")
    return drawn.getvalue()


def keep(database: Database, owner_id: UUID, content: bytes) -> UUID:
    with database.transaction() as session:
        return documents.store(session, owner_id=owner_id, filename="photo.png", content=content, accepts=PICTURES, now=NOW)


def issue(database: Database, subject: str = "application:1", holder_id: UUID | None = None) -> UUID:
    with database.transaction() as session:
        return documents.issue(
            session,
            subject=subject,
            holder_id=holder_id or ids.new_id(),
            holder_name="演示·林小满",
            letter=LETTER,
            now=NOW,
        )


def file_of(database: Database, certificate_id: UUID) -> bytes:
    with database.transaction() as session:
        return documents.certificate_file(session, certificate_id)


def test_the_same_file_is_one_paper_in_each_wallet(database: Database) -> None:
    mine, yours = ids.new_id(), ids.new_id()
    first = keep(database, mine, picture())
    assert keep(database, mine, picture()) == first
    assert keep(database, mine, picture("red")) != first
    assert keep(database, yours, picture()) != first
    with database.transaction() as session:
        assert len(documents.wallet(session, mine)) == 2
        assert [paper.is_picture for paper in documents.wallet(session, yours)] == [True]


def test_a_damaged_picture_is_refused_and_leaves_nothing(database: Database, settings: Settings) -> None:
    owner = ids.new_id()
    with pytest.raises(FileUnreadable):
        keep(database, owner, picture()[:60])
    with database.transaction() as session:
        assert documents.wallet(session, owner) == []
    assert not (settings.data_dir / "documents").exists()


def test_every_look_at_a_paper_is_recorded_for_its_owner_and_cannot_be_erased(database: Database) -> None:
    owner = ids.new_id()
    paper = keep(database, owner, picture())
    with database.transaction() as session:
        view, content = documents.read(session, paper, actor="person:officer", purpose="case 7", now=NOW)
    assert (view.media_type, content) == ("image/png", picture())
    with database.transaction() as session:
        assert [(look.actor, look.purpose) for look in documents.looks(session, paper, owner_id=owner)] == [
            ("person:officer", "case 7")
        ]
    with pytest.raises(NoSuchDocument), database.transaction() as session:
        documents.looks(session, paper, owner_id=ids.new_id())
    with pytest.raises(ProgrammingError, match="permission denied"), database.transaction() as session:
        session.execute(text("DELETE FROM services.document_access"))


def test_a_file_that_changed_on_disk_is_never_served(database: Database, settings: Settings) -> None:
    paper = keep(database, ids.new_id(), picture())
    [stored] = [path for path in (settings.data_dir / "documents").rglob("*") if path.is_file()]
    stored.write_bytes(picture("red"))
    with pytest.raises(NoSuchDocument), database.transaction() as session:
        documents.read(session, paper, actor="person:officer", purpose="case 7", now=NOW)


def test_the_signature_of_a_certificate_validates_under_the_citys_root_and_only_there(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    pdf = file_of(database, issue(database))
    with database.transaction() as session:
        root = documents.root_certificate(session)
    [signature] = PdfFileReader(io.BytesIO(pdf)).embedded_signatures
    status = validate_pdf_signature(
        signature, ValidationContext(trust_roots=[gateway._asn1(gateway.x509.load_pem_x509_certificate(root))])
    )
    assert status.bottom_line
    assert status.coverage.name == "ENTIRE_FILE"
    assert signature.sig_object["/SubFilter"] == "/ETSI.CAdES.detached"
    with database.transaction() as session:
        own = gateway.desk_of(session)
    other = dataclasses.replace(own, keys_dir=tmp_path / "other")
    assert gateway.sealed_whole(other, pdf) is None


def test_the_code_on_the_page_is_an_address_with_a_token_that_verifies_offline(database: Database, settings: Settings) -> None:
    certificate_id = issue(database)
    page = pypdfium2.PdfDocument(file_of(database, certificate_id))[0].render(scale=2).to_pil()
    [found] = zxingcpp.read_barcodes(page)
    address, _, token = found.text.partition("#")
    assert address == f"{settings.public_url}/verify/{certificate_id}"
    with database.transaction() as session:
        [jwk] = documents.token_keys(session)["keys"]
    key = signing.key_from_jwk(jwk)
    said = signing.read_jws(token, {str(jwk["kid"]): key}, typ="certificate+jwt")  # nothing but the public key is needed
    assert (said["name"], said["says"]) == ("演示·林小满", LETTER.sentence.zh)


def test_what_somebody_shows_is_valid_withdrawn_altered_or_unknown(database: Database) -> None:
    certificate_id, other_id = issue(database), issue(database, "application:2")
    pdf = file_of(database, certificate_id)
    changed = pdf.replace(b"/Producer", b"/Prodvcer", 1) if b"/Producer" in pdf else pdf[:900] + b"x" + pdf[901:]
    with database.transaction() as session:
        certificate = documents.certificate_about(session, "application:1")
        assert certificate is not None
        token = session.execute(text(f"SELECT token FROM services.certificate WHERE id = '{certificate_id}'")).scalar_one()

        def standing(shown: str | bytes) -> tuple[Standing, bool]:
            check = documents.verify_text(session, shown) if isinstance(shown, str) else documents.verify_file(session, shown)
            return check.standing, check.document_shown

        assert standing(str(certificate_id)) == (Standing.VALID, False)
        assert standing(certificate.number.lower()) == (Standing.VALID, False)
        assert standing(f"https://city/verify/{certificate_id}#{token}") == (Standing.VALID, True)
        assert standing(token) == (Standing.VALID, True)
        assert standing(f"https://city/verify/{other_id}#{token}") == (Standing.ALTERED, False)
        assert standing(token[:-6] + "AAAAAA") == (Standing.UNKNOWN, False)
        assert standing(str(ids.new_id())) == (Standing.UNKNOWN, False)
        assert standing(pdf) == (Standing.VALID, True)
        assert standing(changed) == (Standing.ALTERED, False)
        assert standing(pdf + b"\n% one more line") == (Standing.ALTERED, False)
        assert standing(b"%PDF-1.7 something else") == (Standing.UNKNOWN, False)
        assert standing(picture()) == (Standing.UNKNOWN, False)

        documents.withdraw(session, certificate_id, because="issued in error", by="person:supervisor", now=NOW)
        assert standing(token) == (Standing.WITHDRAWN, True)
        assert standing(pdf) == (Standing.WITHDRAWN, True)


def test_a_certificate_is_issued_once_about_a_subject(database: Database) -> None:
    holder = ids.new_id()
    assert issue(database, holder_id=holder) == issue(database, holder_id=holder)
    with database.transaction() as session:
        assert len(documents.certificates_of(session, holder)) == 1
