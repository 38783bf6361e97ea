from app.web.i18n import DEFAULT, load


def test_chinese_has_one_form_for_every_number() -> None:
    chinese = load(DEFAULT)
    days = {chinese.ngettext("%(num)s working day", "%(num)s working days", count) for count in (0, 1, 2, 5)}
    assert days == {"%(num)s个工作日"}
