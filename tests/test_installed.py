"""What is found on a machine: a Squid among others, and certificates."""

from pathlib import Path

import pytest

from squid_imhelper.offline import installed
from squid_imhelper.offline.installed import VERSIONS, FoundSquid, find_squid, nearest_version, pem_problem
from squid_imhelper.squid.intercepting import MAKE_CERTIFICATE

SAYS = "Squid Cache: Version {version}\nService Name: squid\n\nconfigure options: {options}\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a Squid."""
    for name in ("bin", "sbin"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(installed, "_PLACES", (str(tmp_path / "sbin"),))
    monkeypatch.setattr(installed, "_SECONDS", 0.5)
    return tmp_path


def put_squid(path: Path, does: str) -> Path:
    squid = path / "squid"
    squid.write_text(f"#!/bin/sh\n{does}\n")
    squid.chmod(0o755)
    return squid


def says(version: str, options: str = "'--with-openssl'") -> str:
    return f"/bin/cat <<'END'\n{SAYS.format(version=version, options=options)}END"


def test_no_squid_is_found_where_there_is_none(machine: Path) -> None:
    assert find_squid() is None, machine


@pytest.mark.parametrize(
    ("version", "options", "expected"),
    [
        pytest.param("5.7", "'--with-openssl' '--enable-eui'", (5, True), id="debian-openssl"),
        pytest.param("6.13", "'--with-gnutls'", (6, False), id="debian"),
        pytest.param("7.0.1-VCS", "", (7, False), id="of-a-developer"),
        pytest.param("6.6", "'--without-openssl'", (6, False), id="without"),
        pytest.param("4.17", "'--with-openssl=/opt/ssl'", (4, True), id="elsewhere"),
    ],
)
def test_a_squid_tells_what_it_is(machine: Path, version: str, options: str, expected: tuple[int, bool]) -> None:
    squid = put_squid(machine / "sbin", says(version, options))
    assert find_squid() == FoundSquid(str(squid), *expected)


def test_the_one_in_the_path_comes_first(machine: Path) -> None:
    put_squid(machine / "sbin", says("5.7"))
    first = put_squid(machine / "bin", says("6.1"))
    assert find_squid() == FoundSquid(str(first), 6, True)


@pytest.mark.parametrize(
    "does",
    [
        pytest.param("echo hello", id="something-else"),
        pytest.param("echo Squid Cache: Version x", id="no-number"),
        pytest.param("exit 1", id="fails"),
        pytest.param("exec /bin/sleep 60", id="hangs"),
        pytest.param("printf '\\377\\376'", id="no-text"),
    ],
)
def test_what_does_not_answer_is_no_squid(machine: Path, does: str) -> None:
    put_squid(machine / "bin", does)
    assert find_squid() is None


def test_what_cannot_be_started_is_no_squid(machine: Path) -> None:
    squid = put_squid(machine / "bin", "")
    squid.write_text("#!/no/such/shell\n")
    assert find_squid() is None


@pytest.mark.parametrize(("found", "version"), [(None, 5), (3, 5), (4, 5), (5, 5), (6, 6), (7, 7), (8, 7), (10, 7)])
def test_the_nearest_version_is_taken(found: int | None, version: int) -> None:
    assert nearest_version(None if found is None else FoundSquid("/s", found, True)) == version
    assert version in VERSIONS


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("-----BEGIN PRIVATE KEY-----\n" + CERTIFICATE, "", id="both"),
        pytest.param(CERTIFICATE + "-----BEGIN RSA PRIVATE KEY-----\n", "", id="old-key"),
        pytest.param(CERTIFICATE + "-----BEGIN EC PRIVATE KEY-----\n", "", id="elliptic-key"),
        pytest.param("-----BEGIN PRIVATE KEY-----\n", "{path} holds no certificate", id="no-certificate"),
        pytest.param(CERTIFICATE, "{path} holds no key", id="no-key"),
        pytest.param("", "{path} holds no certificate and no key", id="empty"),
        pytest.param("-----BEGIN CERTIFICATE REQUEST-----\n-----BEGIN PUBLIC KEY-----\n",
                     "{path} holds no certificate and no key", id="request"),
    ],
)  # fmt: skip
def test_a_certificate_comes_with_its_key(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "a.pem"
    path.write_text(text)
    assert pem_problem(path) == expected.format(path=path)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(Path.mkdir, "Is a directory", id="folder"),
        pytest.param(lambda path: path.symlink_to(path), "Too many levels of symbolic links", id="loop"),
    ],
)
def test_a_certificate_that_cannot_be_read_is_told(tmp_path: Path, make, why: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.pem"
    make(path)
    assert pem_problem(path) == f"cannot read {path}: {why}"


def test_a_certificate_that_is_not_there_can_be_made(tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    make = MAKE_CERTIFICATE.format(path=path)
    assert pem_problem(path) == f"there is no {path} yet; this makes one: {make}"
