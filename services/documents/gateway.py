"""Outside the database: the store of files, the press that sets a page (typst), and the city's seal (PAdES by pyHanko)."""

import hashlib
import io
import json
import os
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import segno
import typst
from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image, UnidentifiedImageError
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign import signers
from pyhanko.sign.fields import MDPPerm, SigSeedSubFilter
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.registry import SimpleCertificateStore
from sqlalchemy.orm import Session

from app.kernel import signing
from app.kernel.clock import local
from app.kernel.db import Database
from app.kernel.settings import Settings
from app.kernel.signing import Purpose
from services.documents.rules import FileUnreadable, FontsMissing, Letter, MediaType, NoSuchDocument, Sheet

INFO: Final = "documents.desk"
FONTS: Final = Path(__file__).parent / "fonts"
TEMPLATE: Final = Path(__file__).parent / "letter.typ"
SHEET: Final = Path(__file__).parent / "sheet.typ"
PIXELS_MAX: Final = 60_000_000
ROOT_YEARS: Final = 20
SEAL_YEARS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Where one city keeps files and keys, and how it calls itself on paper."""

    city_code: str
    city_en: str
    city_zh: str
    public_url: str
    demonstration: bool
    store: Path
    keys_dir: Path

    @property
    def token_key(self) -> signing.Key:
        """The Ed25519 key that signs the QR's token."""
        return signing.load_or_create(self.keys_dir, Purpose.DOCUMENT)


def equip(database: Database, settings: Settings) -> None:
    """Give every session of ``database`` the city's desk."""
    database.info[INFO] = Desk(
        city_code=settings.city_code,
        city_en=settings.city_name_en,
        city_zh=settings.city_name_zh,
        public_url=settings.public_url,
        demonstration=settings.demonstration,
        store=settings.data_dir / "documents",
        keys_dir=settings.keys_dir,
    )


def desk_of(session: Session) -> Desk:
    """The desk that the session's database was equipped with."""
    found = session.info.get(INFO)
    assert isinstance(found, Desk), "this database was never equipped with a desk"
    return found


# The store


def keep(store: Path, content: bytes) -> str:
    """Write ``content`` under its SHA-256 and answer that; what is there already is left alone."""
    digest = hashlib.sha256(content).hexdigest()
    path = _place(store, digest)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_suffix(f".{os.getpid()}.new")
        fresh.write_bytes(content)
        fresh.chmod(0o600)
        fresh.replace(path)
    return digest


def fetch(store: Path, digest: str) -> bytes:
    """The bytes kept under ``digest``. A file that is missing or changed on disk is refused, never served."""
    try:
        content = _place(store, digest).read_bytes()
    except FileNotFoundError as error:
        raise NoSuchDocument(digest) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise NoSuchDocument(f"{digest} changed on disk")
    return content


def _place(store: Path, digest: str) -> Path:
    return store / digest[:2] / digest[2:4] / digest


def examine(content: bytes, media_type: MediaType) -> None:
    """Open the file to see that it is whole. Raises :class:`FileUnreadable`."""
    try:
        if media_type is MediaType.PDF:
            PdfFileReader(io.BytesIO(content), strict=False).root["/Pages"]
            return
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as picture:
                if picture.width * picture.height > PIXELS_MAX:
                    raise FileUnreadable("too many pixels")
                picture.load()
    except (PdfError, KeyError, UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombWarning) as error:
        raise FileUnreadable(str(error)) from error


# The press


def code(text: str, *, error: str = "m") -> bytes:
    """``text`` as a QR code in SVG, with the quiet zone that a scanner needs; ``error`` is its level of correction."""
    drawn = io.BytesIO()
    segno.make(text, error=error, boost_error=False).save(drawn, kind="svg", border=2, scale=4, dark="#10312b", xmldecl=False)
    return drawn.getvalue()


def press(desk: Desk, letter: Letter, *, number: str, address: str, qr_text: str, issued_at: datetime) -> bytes:
    """Set the letter as PDF/A-2b. Raises :class:`FontsMissing` before anything would be printed as empty boxes."""
    if not any(FONTS.glob("*.ttf")):
        raise FontsMissing(str(FONTS))
    on = local(issued_at)
    content = {
        "city": {"en": f"City of {desk.city_en}", "zh": f"{desk.city_zh}政务服务"},
        "demonstration": desk.demonstration,
        "mark": desk.city_zh[:1],
        "number": number,
        "address": address,
        "title": _both(letter.title),
        "sentence": _both(letter.sentence),
        "facts": [{"name": _both(name), "value": _both(value)} for name, value in letter.facts],
        "reasons": [_both(reason) for reason in letter.reasons],
        "notice": _both(letter.notice) if letter.notice else None,
        "issued": {"en": f"{on.day} {on:%B %Y}", "zh": f"{on.year}年{on.month}月{on.day}日"},
    }
    made = typst.compile(
        TEMPLATE,
        root=TEMPLATE.parent,
        font_paths=[FONTS],
        ignore_system_fonts=True,
        format="pdf",
        sys_inputs={"letter": json.dumps(content, ensure_ascii=False), "code": code(qr_text).decode()},
        pdf_standards="a-2b",
        timestamp=int(issued_at.timestamp()),
    )
    assert isinstance(made, bytes)
    return made


def set_sheet(session: Session, sheet: Sheet, *, at: datetime) -> bytes:
    """Set a sheet as PDF/A-3b. Raises :class:`FontsMissing` before anything would be printed as empty boxes."""
    if not any(FONTS.glob("*.ttf")):
        raise FontsMissing(str(FONTS))
    desk = desk_of(session)
    content = {
        "city": {"en": f"City of {desk.city_en}", "zh": desk.city_zh},
        "demonstration": desk.demonstration,
        "number": sheet.number,
        "title": _both(sheet.title),
        "facts": [{"name": _both(name), "value": value} for name, value in sheet.facts],
        "tables": [
            {
                "title": _both(table.title) if table.title else None,
                "columns": [
                    {"name": _both(column.name), "right": column.right, "wide": column.wide} for column in table.columns
                ],
                "rows": table.rows,
            }
            for table in sheet.tables
        ],
        "note": _both(sheet.note) if sheet.note else None,
        "attached": sheet.attached,
    }
    drawn = [code(text, error="l").decode() for text in sheet.codes]
    inputs = {"sheet": json.dumps(content, ensure_ascii=False), "codes": json.dumps(drawn)}
    made = typst.compile(
        SHEET,
        root=SHEET.parent,
        font_paths=[FONTS],
        ignore_system_fonts=True,
        format="pdf",
        sys_inputs=inputs,
        pdf_standards="a-3b",
        timestamp=int(at.timestamp()),
    )
    assert isinstance(made, bytes)
    return made


def _both(text: Any) -> dict[str, str]:
    return {"en": text.en, "zh": text.zh}


# The seal


def _names(desk: Desk, common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"City of {desk.city_en} ({desk.city_code})"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _certificate(
    *,
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    by: ec.EllipticCurvePrivateKey,
    years: int,
    root: bool,
) -> x509.Certificate:
    begins = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    usage = x509.KeyUsage(
        digital_signature=not root,
        content_commitment=not root,
        key_cert_sign=root,
        crl_sign=root,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=365 * years))
        .add_extension(x509.BasicConstraints(ca=root, path_length=0 if root else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )
    if not root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(by, hashes.SHA256())


@dataclass(frozen=True, kw_only=True)
class Seal:
    """The city's certificate for documents under its own root, ECDSA on P-256: what PDF readers understand."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    root: x509.Certificate


def seal_of(desk: Desk) -> Seal:
    """The city's seal; made at first use, one file for all of it, so that its parts always belong together."""
    path = desk.keys_dir / "document-seal.pem"
    if not path.exists():
        _make_seal(desk, path)
    pem = path.read_bytes()
    key = serialization.load_pem_private_key(pem, password=None)
    certificate, root = x509.load_pem_x509_certificates(pem)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Seal(key=key, certificate=certificate, root=root)


def _make_seal(desk: Desk, path: Path) -> None:
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = _names(desk, f"{desk.city_zh} document root")
    root = _certificate(
        subject=root_name, issuer=root_name, key=root_key.public_key(), by=root_key, years=ROOT_YEARS, root=True
    )
    certificate = _certificate(
        subject=_names(desk, f"{desk.city_zh} document seal"),
        issuer=root_name,
        key=key.public_key(),
        by=root_key,
        years=SEAL_YEARS,
        root=False,
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem += certificate.public_bytes(serialization.Encoding.PEM) + root.public_bytes(serialization.Encoding.PEM)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.write_bytes(pem)
    fresh.chmod(0o600)
    try:
        os.link(fresh, path)  # the first process wins; the root's private key is not kept: a new seal is a new root
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def seal(desk: Desk, pdf: bytes, *, reason: str) -> bytes:
    """Sign the file (PAdES, certifying: any later change breaks it)."""
    with_key = seal_of(desk)
    signer = signers.SimpleSigner(
        signing_cert=_asn1(with_key.certificate),
        signing_key=asn1_keys.PrivateKeyInfo.load(
            with_key.key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        ),
        cert_registry=SimpleCertificateStore.from_certs([_asn1(with_key.certificate), _asn1(with_key.root)]),
    )
    metadata = signers.PdfSignatureMetadata(
        field_name="CitySeal",
        md_algorithm="sha256",
        subfilter=SigSeedSubFilter.PADES,
        certify=True,
        docmdp_permissions=MDPPerm.NO_CHANGES,
        name=f"City of {desk.city_en}",
        reason=reason,
    )
    signed = signers.sign_pdf(IncrementalPdfFileWriter(io.BytesIO(pdf)), metadata, signer=signer)
    return bytes(signed.getbuffer())


def sealed_whole(desk: Desk, pdf: bytes) -> bool | None:
    """Whether the file carries this city's seal and is as it was sealed; none where it never carried it."""
    root = _asn1(seal_of(desk).root)
    try:
        found = PdfFileReader(io.BytesIO(pdf), strict=False).embedded_signatures
        if not any(_by(signature, root) for signature in found):
            return None
        status = validate_pdf_signature(found[0], ValidationContext(trust_roots=[root], allow_fetching=False))
    except (PdfError, ValueError, KeyError):
        return None
    return bool(status.bottom_line)


def _by(signature: Any, root: asn1_x509.Certificate) -> bool:
    certificate: Any = signature.signer_cert
    return bool(certificate and certificate.authority_key_identifier == root.key_identifier)


def _asn1(certificate: x509.Certificate) -> asn1_x509.Certificate:
    return cast("asn1_x509.Certificate", asn1_x509.Certificate.load(certificate.public_bytes(serialization.Encoding.DER)))


def root_pem(desk: Desk) -> bytes:
    """The root's certificate, for anybody who wants their PDF reader to trust the city."""
    return seal_of(desk).root.public_bytes(serialization.Encoding.PEM)
