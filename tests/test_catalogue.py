"""The catalogue: the one that is shipped, and what is said about one that is wrong."""

from collections import Counter
from pathlib import Path

import pytest

from squid_imhelper.base.errors import ImhelperError, SourceError
from squid_imhelper.base.model import Kind, Match, Service, Signature, UrlPattern
from squid_imhelper.base.urls import normalise_host
from squid_imhelper.sources.catalogue import SERVICES_DIR, Catalogue, load_catalogue

CATALOGUE = load_catalogue()
SERVICES = list(CATALOGUE.services.values())
NAME_KINDS = (Kind.HOST, Kind.DOMAIN)


def names_of(service: Service) -> list[str]:
    return [s.value for s in service.signatures if s.kind in NAME_KINDS and not s.flag]


def is_below(name: str, domain: str) -> bool:
    return f".{name}".endswith(f".{domain}")


# ---- the shipped catalogue ------------------------------------------------------------------------------------------


def test_groups() -> None:
    """One file a group; every group has a title and services, and every service is in one."""
    assert set(CATALOGUE.groups) == {path.stem for path in SERVICES_DIR.glob("*.toml")}
    assert set(CATALOGUE.groups) == {service.group for service in SERVICES}
    assert all(CATALOGUE.groups.values())
    assert set(CATALOGUE.groups) == {"im", "work_chat", "legacy_im", "web_messenger", "revival", "random_chat"}


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.id)
def test_service(service: Service) -> None:
    """It has a name, it can be recognised or says why not, and its texts are whole sentences."""
    assert CATALOGUE.services[service.id] is service
    assert service.name
    assert service.signatures
    assert all(signature.service == service.id for signature in service.signatures)
    assert any(not signature.flag for signature in service.signatures) or service.hidden
    assert all(text == "" or text.endswith(".") for text in (service.note, service.collateral, service.hidden))
    assert service.year is None or service.status == "retired"


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.id)
def test_nothing_stands_twice(service: Service) -> None:
    counts = Counter((s.kind, s.value, s.match, s.url) for s in service.signatures)
    assert [key for key, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.id)
def test_exceptions_lie_below_a_domain_of_the_service(service: Service) -> None:
    """An exception that takes nothing away would be a mistake; one that takes all away too."""
    domains = [s.value for s in service.signatures if s.kind is Kind.DOMAIN]
    for name in service.exceptions:
        assert any(is_below(name, domain) and name != domain for domain in domains)
        assert name not in names_of(service)


def test_only_two_services_lie_inside_another() -> None:
    """A name that identifies by itself lies below that of another service in the known cases only."""
    owners = {name: service.id for service in SERVICES for name in names_of(service)}
    domains = {
        s.value: s.service for service in SERVICES for s in service.signatures if s.kind is Kind.DOMAIN and not s.flag
    }
    nested = {
        (domain, service, other)
        for name, service in owners.items()
        for domain, other in domains.items()
        if is_below(name, domain) and service != other
    }
    assert nested == {("messenger.live.com", "skype", "windows_live_messenger"), ("weixin.qq.com", "wecom", "wechat")}


@pytest.mark.parametrize(
    "name",
    [
        "google.com", "mail.google.com", "facebook.com", "www.facebook.com", "apple.com", "microsoft.com", "office.com",
        "live.com", "login.live.com", "login.microsoftonline.com", "yahoo.com", "login.yahoo.com", "aol.com", "aim.com",
        "screenname.aol.com", "qq.com", "kakao.com", "accounts.kakao.com", "vk.com", "ok.ru", "zoom.us", "webex.com",
        "skype.com", "lync.com", "instagram.com", "x.com", "twitter.com", "naver.jp", "turkcell.com.tr", "sytes.net",
        "amazonaws.com", "appspot.com", "googleapis.com", "akadns.net", "msedge.net", "com", "net", "me", "co.uk",
    ],
)  # fmt: skip
def test_what_is_more_than_a_messenger_is_off_by_default(name: str) -> None:
    """A brand, a sign-in host, a cloud: nothing of it is recognised by its name alone."""
    by_default = [s for service in SERVICES for s in service.signatures if not s.flag]
    assert not [s for s in by_default if s.kind is Kind.HOST and s.value == name]
    assert not [s for s in by_default if s.kind is Kind.DOMAIN and is_below(name, s.value)]


def test_common_ports_are_off_altogether() -> None:
    ports = {int(s.value) for service in SERVICES for s in service.signatures if s.kind is Kind.PORT}
    assert ports.isdisjoint({20, 21, 22, 23, 25, 53, 80, 110, 119, 143, 443, 993, 995, 3128, 3389, 8080})


def test_agents_of_browsers_are_no_signature() -> None:
    texts = {s.value for service in SERVICES for s in service.signatures if s.kind is Kind.USER_AGENT and not s.flag}
    browser = (
        "Mozilla/5.0 (compatible; MSIE 6.0; Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0 Chrome/130 Edg/1"
    )
    assert [text for text in texts if text in browser] == []


VISIBLE = [
    ("zoom_chat", "decrypted"),
    ("odnoklassniki", "decrypted"),
    ("imessage_facetime", ""),
    ("instagram_direct", "proxy sni decrypted"),
    ("x_chat", "proxy sni decrypted"),
    ("whatsapp", "proxy sni decrypted"),
    ("telegram", "proxy sni decrypted firewall"),
    ("msn_messenger", "proxy sni decrypted firewall"),
    ("microsoft_teams", "proxy sni decrypted firewall"),
    ("qq", "proxy sni decrypted firewall"),
]


@pytest.mark.parametrize(("service", "expected"), VISIBLE, ids=[service for service, _ in VISIBLE])
def test_visible(service: str, expected: str) -> None:
    visible = CATALOGUE.services[service].visible
    assert [way for way in visible if visible[way]] == expected.split()


@pytest.mark.parametrize(
    ("service", "signature"),
    [
        ("msn_messenger", Signature(Kind.USER_AGENT, "MSMSGS", "msn_messenger")),
        ("msn_messenger", Signature(Kind.CONTENT_TYPE, "text/x-msnmsgr", "msn_messenger", match=Match.PREFIX)),
        ("msn_messenger", Signature(Kind.PORT, "1863", "msn_messenger")),
        ("msn_messenger", Signature(Kind.PORT, "6900", "msn_messenger")),
        ("aim", Signature(Kind.NETWORK, "64.12.24.0/22", "aim", "stale")),
        ("yahoo_messenger", Signature(Kind.NETWORK, "216.155.192.0/22", "yahoo_messenger", "stale")),
        ("e_messenger", Signature(Kind.NETWORK, "193.238.160.0/24", "e_messenger", "stale")),
        ("msn2go", Signature(Kind.NETWORK, "64.92.173.0/24", "msn2go", "stale")),
        ("info_sytes", Signature(Kind.HOST, "info.sytes.net", "info_sytes")),
        ("google_talk", Signature(Kind.HOST, "chatenabled.mail.google.com", "google_talk")),
        (
            "messenger",
            Signature(
                Kind.URL,
                "facebook.com/messages",
                "messenger",
                match=Match.SEGMENT,
                url=UrlPattern("/messages", Match.SEGMENT, domain="facebook.com"),
            ),
        ),
    ],
)
def test_some_signatures_as_they_are_read(service: str, signature: Signature) -> None:
    assert signature in CATALOGUE.services[service].signatures


# ---- a catalogue of one's own ---------------------------------------------------------------------------------------

HEAD = 'title = "Test"\n[chat]\nname = "Chat"\nstatus = "active"\n'


def write(directory: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (directory / f"{name}.toml").write_text(text, encoding="utf-8")
    return directory


def load(directory: Path, text: str) -> Catalogue:
    return load_catalogue(write(directory, group=text))


def test_a_whole_service(tmp_path: Path) -> None:
    """Every key, and in which order the signatures are tried."""
    text = """
        year = 2014
        note = "A note."
        collateral = "Little."
        hidden = "Much."
        domains = ["chat.example"]
        hosts = ["a.chat.example"]
        exceptions = ["docs.chat.example"]
        bots = ["Chatbot"]
        urls = [{ domain = "chat.example", segment = "/im", query = "a=[0-9]", method = "POST", ignore_case = true }]
        user_agents = [{ exact = "A" }, { prefix = "B" }, { word = "C" }, { substring = "D" }]
        content_types = ["Chat/X", "chat/y*"]
        networks = ["192.0.2.0/24", "2001:db8::/32"]
        tcp_ports = [5190, "6000-6001"]
        udp_ports = [7000]
        [chat.stale]
        networks = ["198.51.100.0/24"]
        [chat.shared]
        tcp_ports = [5222]
        [chat.self_hosted]
        urls = [{ exact = "/im" }]
    """
    catalogue = load(tmp_path, HEAD + text)
    service = catalogue.services["chat"]
    bound = UrlPattern("/im", Match.SEGMENT, domain="chat.example", query="a=[0-9]", method="POST", ignore_case=True)
    assert catalogue.groups == {"group": "Test"}
    assert service == Service(
        id="chat",
        name="Chat",
        group="group",
        status="active",
        year=2014,
        note="A note.",
        collateral="Little.",
        hidden="Much.",
        signatures=(
            Signature(Kind.HOST, "a.chat.example", "chat"),
            Signature(Kind.DOMAIN, "chat.example", "chat"),
            Signature(Kind.URL, "chat.example/im", "chat", match=Match.SEGMENT, url=bound),
            Signature(Kind.CONTENT_TYPE, "chat/x", "chat"),
            Signature(Kind.CONTENT_TYPE, "chat/y", "chat", match=Match.PREFIX),
            Signature(Kind.USER_AGENT, "A", "chat"),
            Signature(Kind.USER_AGENT, "B", "chat", match=Match.PREFIX),
            Signature(Kind.USER_AGENT, "C", "chat", match=Match.WORD),
            Signature(Kind.USER_AGENT, "D", "chat", match=Match.SUBSTRING),
            Signature(Kind.NETWORK, "192.0.2.0/24", "chat"),
            Signature(Kind.NETWORK, "2001:db8::/32", "chat"),
            Signature(Kind.PORT, "5190", "chat"),
            Signature(Kind.PORT, "6000", "chat"),
            Signature(Kind.PORT, "6001", "chat"),
            Signature(Kind.NETWORK, "198.51.100.0/24", "chat", "stale"),
            Signature(Kind.PORT, "5222", "chat", "shared"),
            Signature(Kind.URL, "/im", "chat", "self_hosted", Match.EXACT, UrlPattern("/im", Match.EXACT)),
        ),
        exceptions=("docs.chat.example",),
        bots=("Chatbot",),
        udp_ports=(7000,),
    )


def test_groups_and_services_keep_their_order(tmp_path: Path) -> None:
    """Files by name, services as they stand in them."""
    one = '[{0}]\nname = "x"\nstatus = "active"\n'
    write(tmp_path, b='title = "B"\n' + one.format("z") + one.format("a"), a='title = "A"\n' + one.format("m"))
    catalogue = load_catalogue(tmp_path)
    assert list(catalogue.services) == ["m", "z", "a"]
    assert list(catalogue.groups) == ["a", "b"]


WRONG = [
    ("an unknown key", 'domain = ["a.example"]', 5, "unknown key 'domain'"),
    ("an unknown flag", "[chat.stail]\ndomains = []", 5, "unknown key 'stail'"),
    ("an unknown key of a flag", '[chat.stale]\nbots = ["x"]', 6, "unknown key 'bots'"),
    (
        "an unknown key of a URL",
        'urls = [\n  { exact = "/a" },\n  { exact = "/b", hots = "x" },\n]',
        7,
        "unknown key 'hots'",
    ),
    ("host bits", 'networks = [\n  "192.0.2.0/24",\n  "64.12.25.0/22",\n]', 7, "has host bits set"),
    ("no network", 'networks = ["192.0.2"]', 5, "'192.0.2' is no IP address"),
    ("a single address", 'networks = ["192.0.2.1-192.0.2.9"]', 5, "is no CIDR"),
    ("a bad expression", '\nurls = [{ exact = "/a", query = "(" }]', 6, "bad regular expression"),
    ("upper case", 'domains = [\n  "ok.example",\n  "Chat.example",\n]', 7, "'Chat.example' is no host name"),
    ("a dot too many", 'hosts = ["chat.example."]', 5, "'chat.example.' is no host name"),
    ("no dot", 'domains = ["chat"]', 5, "'chat' is no host name"),
    ("Unicode", 'domains = ["bücher.example"]', 5, "is no host name in its normal form"),
    ("an exception", 'exceptions = ["A.example"]', 5, "'A.example' is no host name"),
    ("the host of a URL", 'urls = [{ exact = "/a", host = "A.example" }]', 5, "normal form, a.example"),
    (
        "two places of a URL",
        'urls = [{ exact = "/a", host = "a.example", domain = "b.example" }]',
        5,
        "only one of host",
    ),
    ("no path", 'urls = [{ host = "a.example" }]', 5, "exactly one of exact, prefix, segment"),
    ("two paths", 'urls = [{ exact = "/a", prefix = "/b" }]', 5, "exactly one of exact, prefix, segment"),
    ("a relative path", 'urls = [{ exact = "a" }]', 5, "a path starts with a slash"),
    ("a path not in its normal form", 'urls = [{ exact = "/%61//b" }]', 5, "a path starts with a slash"),
    ("an empty agent", 'user_agents = [{ word = "" }]', 5, "exactly one of exact, prefix, word, substring"),
    ("an agent by segments", 'user_agents = [{ segment = "x" }]', 5, "exactly one of exact"),
    ("an agent that is no table", 'user_agents = ["x"]', 5, "'user_agents' must be a list of tables"),
    ("the second of two agents", 'user_agents = [\n  { word = "x" },\n  { word = "" },\n]', 7, "exactly one of exact"),
    ("an address", 'domains = ["192.0.2.1"]', 5, "'192.0.2.1' is no host name"),
    ("a method in lower case", 'urls = [{ exact = "/a", method = "post" }]', 5, "method"),
    ("a content type that is all", 'content_types = ["*"]', 5, "content_types"),
    ("a comment that says the same", 'domains = [  # not "A.example"\n  "A.example",\n]', 6, "'A.example' is no host"),
    ("port 0", "tcp_ports = [0]", 5, "'0' is no port"),
    ("port 65536", "tcp_ports = [80, 65536]", 5, "'65536' is no port"),
    ("ports backwards", 'udp_ports = ["9-8"]', 5, "'9-8' runs backwards"),
    ("a port that is true", "tcp_ports = [true]", 5, "holds numbers and ranges only"),
    ("a list that is none", 'domains = "a.example"', 5, "'domains' must be a list of strings"),
    ("an empty string", 'domains = [""]', 5, "none that is empty"),
    ("a year in words", 'year = "2014"', 5, "'year' must be a whole number"),
]


@pytest.mark.parametrize(("text", "line", "message"), [pytest.param(*case[1:], id=case[0]) for case in WRONG])
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        load(tmp_path, HEAD + text + "\n")
    assert f"{tmp_path / 'group.toml'}:{line}: error: " in str(caught.value)
    assert any(problem.line == line and message in problem.message for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        pytest.param('title = "T"\n[chat]\nstatus = "active"\n', 2, "'name' is missing", id="no name"),
        pytest.param('title = "T"\n[chat]\nname = "C"\n', 2, "'status' is missing", id="no status"),
        pytest.param('title = "T"\n[chat]\nname = "C"\nstatus = "dead"\n', 4, "'status' is one of", id="a bad status"),
        pytest.param('[chat]\nname = "C"\nstatus = "active"\n', 1, "'title' is missing", id="no title"),
        pytest.param(
            'title = "T"\n\n[My-Chat]\nname = "C"\nstatus = "active"\n', 3, "'My-Chat' is no service id", id="a bad id"
        ),
        pytest.param('title = "T"\nchat = 1\n', 2, "'chat' must be a table", id="no table"),
        pytest.param('title = "T"\n[chat\n', 2, "not valid TOML", id="no TOML"),
    ],
)
def test_mistakes_of_a_file(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        load(tmp_path, text)
    assert any(problem.line == line and message in problem.message for problem in caught.value.problems)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        load(tmp_path, HEAD + 'tcp_ports = [0]\nnetworks = ["x"]\ncolour = "red"\n')
    assert [problem.line for problem in caught.value.problems] == [5, 6, 7]


def test_mistakes_of_two_files_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, a=HEAD + "tcp_ports = [0]\n", b=HEAD.replace("[chat]", "[talk]") + "tcp_ports = [0]\n")
    with pytest.raises(SourceError) as caught:
        load_catalogue(tmp_path)
    assert [Path(problem.path).name for problem in caught.value.problems] == ["a.toml", "b.toml"]


OTHER = '[talk]\nname = "Talk"\nstatus = "active"\n'


@pytest.mark.parametrize("kind", ["domain", "host"])
def test_a_name_of_two_services(tmp_path: Path, kind: str) -> None:
    """What identifies by itself can identify one service only."""
    names = f'{kind}s = [\n  "other.example",\n  "a.example",\n]\n'
    with pytest.raises(SourceError) as caught:
        load(tmp_path, HEAD + f'{kind}s = ["a.example"]\n' + OTHER + names)
    (problem,) = caught.value.problems
    assert (problem.line, problem.message) == (11, f"{kind} in two services, also in 'chat'")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            'domains = ["a.example"]\n' + OTHER + '[talk.shared]\ndomains = ["a.example"]\n', id="once shared"
        ),
        pytest.param('domains = ["a.example"]\n' + OTHER + 'domains = ["b.a.example"]\n', id="one below the other"),
        pytest.param('domains = ["a.example"]\n' + OTHER + 'hosts = ["a.example"]\n', id="a host and a domain"),
        pytest.param("tcp_ports = [5190]\n" + OTHER + "tcp_ports = [5190]\n", id="a port"),
    ],
)
def test_what_two_services_may_have(tmp_path: Path, text: str) -> None:
    assert set(load(tmp_path, HEAD + text).services) == {"chat", "talk"}


def test_a_service_in_two_groups(tmp_path: Path) -> None:
    write(tmp_path, a=HEAD, b=HEAD)
    with pytest.raises(SourceError) as caught:
        load_catalogue(tmp_path)
    (problem,) = caught.value.problems
    assert (Path(problem.path).name, problem.line) == ("b.toml", 2)
    assert problem.message == "service 'chat' is in two groups, also in a"


def test_a_mistake_shows_its_source_and_its_column(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        load(tmp_path, HEAD + 'networks = ["64.12.25.0/22"]\n')
    (problem,) = caught.value.problems
    assert problem.source[problem.column - 1 :].startswith("64.12.25.0/22")


def test_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(ImhelperError, match="there is no catalogue in"):
        load_catalogue(tmp_path)


def test_names_of_the_catalogue_are_in_their_normal_form() -> None:
    names = [name for service in SERVICES for name in (*names_of(service), *service.exceptions)]
    assert [name for name in names if name != normalise_host(name)] == []
