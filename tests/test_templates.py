"""Templates: each value goes in once, encoded, and what a value holds is never expanded again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squid_imhelper.base.templates import PLACEHOLDERS, expand, stray_brace, unknown_placeholders

VALUES = {
    "service": "whatsapp",
    "rule": "r",
    "client": "10.0.0.1",
    "url": "http://h/{rule}",
    "host": "",
    "time": "8:00",
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("plain", "plain", id="no-placeholder"),
        pytest.param("{service}", "<whatsapp>", id="one"),
        pytest.param("{service}{service}/{rule}", "<whatsapp><whatsapp>/<r>", id="several"),
        pytest.param("at {time}", "at <8:00>", id="time"),
        pytest.param("{url}", "<http://h/{rule}>", id="a-value-is-not-expanded"),
        pytest.param("{host}", "<->", id="empty-value"),
        pytest.param("{service_name}", "<->", id="missing-value"),
        pytest.param("{", "{", id="open-brace"),
        pytest.param("}", "}", id="closing-brace"),
        pytest.param("{{service}}", "{<whatsapp>}", id="two-braces"),
        pytest.param("{service", "{service", id="never-closed"),
        pytest.param("\\1 \\g<0> %s", "\\1 \\g<0> %s", id="other-templates"),
    ],
)
def test_a_template_is_expanded(template: str, expected: str) -> None:
    assert expand(template, VALUES, lambda value: f"<{value}>") == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param("".join(f"{{{name}}}" for name in PLACEHOLDERS), [], id="known"),
        pytest.param("{Service} {ip} {}", ["Service", "ip", ""], id="unknown"),
        pytest.param("{ service }", [" service "], id="blanks"),
        pytest.param("no { brace } }{", [" brace "], id="stray-braces"),
        pytest.param("", [], id="empty"),
    ],
)
def test_unknown_placeholders_are_told(template: str, expected: list[str]) -> None:
    assert unknown_placeholders(template) == expected


def test_these_are_the_placeholders() -> None:
    """Policies are written with them: one more is fine, one less is not."""
    assert set(PLACEHOLDERS) >= {"service", "service_name", "rule", "client", "url", "host", "time"}


@given(st.text("{}ab"), st.text("{}ab"))
def test_every_value_is_encoded_and_no_other_text(before: str, value: str) -> None:
    template = before.replace("{", "").replace("}", "") + "{url}"
    assert expand(template, {"url": value}, lambda _: "E") == template.replace("{url}", "E")


@pytest.mark.parametrize(
    ("text", "expected"), [("{host}", False), ("{host", True), ("host}", True), ("{{host}}", True), ("", False)]
)
def test_a_brace_without_its_partner_is_seen(text: str, expected: bool) -> None:
    assert stray_brace(text) is expected
