"""The policy: `policy.toml` read, checked and resolved against the catalogue, with every problem told at its line."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Final

from squid_imhelper.base.addresses import merge
from squid_imhelper.base.errors import ImhelperError, Problem, suggest
from squid_imhelper.base.model import ACTIONS, BUILT_IN, FLAGS, Circumstances, Expectation, Flag, Interval, Policy, Rule
from squid_imhelper.base.schedule import common_zone, instant_of, local_zone_name
from squid_imhelper.base.urls import normalise_address
from squid_imhelper.matching.program import UnknownNameError, select_services
from squid_imhelper.sources.catalogue import Catalogue
from squid_imhelper.sources.compressed import read_lines
from squid_imhelper.sources.definitions import Definitions, read_definitions, read_intervals
from squid_imhelper.sources.listfiles import LeftOut
from squid_imhelper.sources.settings import (
    MAX_TEXT,
    PRINTABLE,
    read_audit,
    read_firewall,
    read_redirect,
    read_response,
    read_template,
)
from squid_imhelper.sources.tomlfile import Document, Table, read_document

LEFT_OUT: Final = "random_chat"
"""The group that the built-in policy does not block: sites to meet strangers on are no messengers."""


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """A policy that can be used; its document, with the warnings about it; what it defines, expects, and left out."""

    policy: Policy
    document: Document
    definitions: Definitions
    expectations: tuple[Expectation, ...]

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is legal and probably not meant, list by list also how many lines were left out."""
        return tuple(self.document.problems) + tuple(left_out_problems(self.definitions.left_out, shown=1))


def built_in_policy(catalogue: Catalogue) -> Policy:
    """Every service blocked for everybody, all groups but `random_chat`."""
    blocked = frozenset(service.id for service in catalogue.services.values() if service.group != LEFT_OUT)
    return Policy(BUILT_IN, (Rule(BUILT_IN, "block", services=blocked),))


def read_policy(path: Path, catalogue: Catalogue) -> ReadPolicy:
    """Reads a policy file that is to be used.

    Raises:
        SourceError: with every problem in it.
        ImhelperError: it cannot be read at all.
    """
    read = read_for_lint(path, catalogue)
    read.document.check()
    return read


def read_for_lint(path: Path, catalogue: Catalogue) -> ReadPolicy:
    """Reads a policy file, whatever is wrong with it; what is, stands in its document.

    Raises:
        ImhelperError: it cannot be read at all, or is no TOML (SourceError).
    """
    document = read_document(path)
    root = document.root
    root.text("$schema")  # for editors
    definitions = read_definitions(root, path.parent)
    reader = _RuleReader(catalogue, definitions, path.parent)
    rules = tuple(reader.read(number, table) for number, table in enumerate(root.tables("rule"), 1))
    _check_names(rules, document)
    zone = common_zone(definitions.schedules[name] for rule in rules for name in rule.schedules or ())
    expectations = tuple(_read_expectation(table, zone, catalogue) for table in root.tables("expect"))
    policy = Policy(
        str(path),
        rules,
        response=read_response(root.table("response")),
        firewall=read_firewall(root.table("firewall"), catalogue),
        audit=read_audit(root.table("audit")),
        sites=definitions.sites,
        schedules=definitions.schedules,
        files=(*definitions.files, *reader.files),
    )
    root.finish()
    if not document.data:  # most likely a disk was full
        document.error((), "the file is empty, so that everything would be allowed")
    elif not rules and not document.problems:
        document.warning((), "there is no rule: everything is allowed")
    return ReadPolicy(policy, document, definitions, expectations)


def left_out_problems(left_out: Sequence[LeftOut], shown: int) -> Iterator[Problem]:
    """Yields a warning for so many lines of each list and reason, the last one with the number of all that follow."""
    of_reason: defaultdict[tuple[str, str], list[LeftOut]] = defaultdict(list)
    for line in left_out:
        of_reason[line.path, line.reason].append(line)
    for (path, reason), lines in of_reason.items():
        for n, line in enumerate(lines[:shown], 1):
            more = f" (and {len(lines) - n} more lines like this)" if n == shown and n < len(lines) else ""
            text = "".join(c if c.isprintable() else "\ufffd" for c in line.text)
            yield Problem(path, line.line, 1, f"left out: {reason}{more}", source=text, severity="warning")


class _RuleReader:
    """Reads rules, whose names for clients and sites stand elsewhere in the file."""

    def __init__(self, catalogue: Catalogue, definitions: Definitions, folder: Path) -> None:
        self._groups = {service.id: service.group for service in catalogue.services.values()}
        self._definitions = definitions
        self._folder = folder
        self.files: list[str] = []

    def read(self, number: int, table: Table) -> Rule:
        schedules = self._read_names("schedule", table, self._definitions.schedules)
        defined = self._definitions.schedules
        zone = defined[schedules[0]].zone if schedules else common_zone(defined.values())
        rule = Rule(
            name=self._name(number, table),
            action=table.choice("action", ACTIONS, "block", required=True),
            clients=self._read_clients(table),
            users=self._read_users(table),
            services=self._read_services(table),
            include=self._read_include(table),
            user_agents=tuple(agents) if (agents := self._list("user_agents", table)) is not None else None,
            sites=self._read_names("sites", table, self._definitions.sites),
            except_sites=self._read_names("except_sites", table, self._definitions.sites) or (),
            schedules=schedules,
            start=_read_instant("from", table, zone),
            end=_read_instant("until", table, zone, end_of_day=True),
            message=read_template("message", table),
            redirect=read_redirect(table),
            firewall=table.flag("firewall", default=True),
            line=table.document.line(table.where),
        )
        if rule.start is not None and rule.end is not None and rule.start >= rule.end:
            table.error("until", "'until' is before 'from'")
        table.finish()
        return rule

    @staticmethod
    def _name(number: int, table: Table) -> str:
        name = table.text("name") or f"rule {number}"
        if len(name.encode()) > MAX_TEXT // 10 or not PRINTABLE.fullmatch(name):
            table.error("name", f"a rule's name is one line of at most {MAX_TEXT // 10} bytes")
        return name

    @staticmethod
    def _list(key: str, table: Table) -> list[str] | None:
        """Returns a list, or None where the condition is not there; a list that is there must not be empty."""
        items = table.one_or_more(key) if key == "schedule" else table.texts(key)
        if not table.has(key):
            return None
        if table.data[key] == []:
            table.error(key, f"'{key}' is empty and would never hold", suggestion="leave it out for 'any'")
        return items

    def _read_clients(self, table: Table) -> tuple[Interval, ...] | None:
        words = self._list("clients", table)
        if words is None:
            return None
        intervals: list[Interval] = []
        for word in words:
            groups = self._definitions.clients
            if word in groups:
                intervals += groups[word]
            elif any(c in word for c in ".:/"):
                intervals += read_intervals("clients", [word], table)
            else:
                table.error("clients", f"unknown client group '{word}'", word, suggest(word, groups))
        return merge(intervals)

    def _read_services(self, table: Table) -> frozenset[str] | None:
        words = self._list("services", table)
        if words is None:
            return None
        for word in words:
            try:
                select_services(("all", word), self._groups)
            except UnknownNameError as error:
                table.error("services", str(error), error.word, error.suggestion or "see 'squid-imhelper services'")
        try:
            chosen = select_services(words, self._groups)
        except UnknownNameError:  # told above
            return frozenset()
        except ImhelperError as error:
            table.error("services", str(error))
            return frozenset()
        if words and not chosen:
            table.error("services", "nothing is left of these services")
        return chosen

    def _read_include(self, table: Table) -> frozenset[Flag]:
        words = self._list("include", table) or []
        for word in words:
            if word not in FLAGS:
                table.error("include", f"'include' knows {', '.join(FLAGS)}", word, suggest(word, FLAGS))
        if words and not table.has("services"):
            table.error("include", "'include' adds signatures of the rule's services, and the rule names none")
        return frozenset(flag for flag in FLAGS if flag in words)

    def _read_users(self, table: Table) -> frozenset[str] | None:
        """Reads a list of names, or a table with `names`, with `file` (a name a line), or with both."""
        if not isinstance(table.data.get("users"), dict):
            names = self._list("users", table)
            return None if names is None else frozenset(names)
        noted = len(table.document.problems)
        entry = table.table("users")
        users = set(entry.texts("names"))
        if file := entry.text("file"):
            try:
                lines = [line.strip() for line in read_lines(self._folder / file)]
            except ImhelperError as error:
                entry.error("file", str(error), file)
            else:
                users |= {line for line in lines if line and not line.startswith("#")}
                self.files.append(str((self._folder / file).absolute()))
        entry.finish()
        if not users and len(table.document.problems) == noted:
            table.error("users", "'users' is empty and would never hold", suggestion="leave it out for 'any'")
        return frozenset(users)

    def _read_names(self, key: str, table: Table, known: Mapping[str, object]) -> tuple[str, ...] | None:
        """Reads names of what is defined elsewhere in the file."""
        words = self._list(key, table)
        if words is None:
            return None
        kind = "schedule" if key == "schedule" else "site list"
        for word in words:
            if word not in known:
                table.error(key, f"unknown {kind} '{word}'", word, suggest(word, known))
        return tuple(word for word in words if word in known)


def _read_instant(key: str, table: Table, zone: str, *, end_of_day: bool = False) -> float | None:
    """Reads a date or a time; without an offset it is in this zone, or in the machine's for an empty one."""
    moment = table.moment(key)
    if moment is None:
        return None
    try:
        if not isinstance(moment, datetime):
            moment = datetime.combine(moment + timedelta(days=end_of_day), time())
        return instant_of(moment, zone or local_zone_name())
    except (ImhelperError, OverflowError) as error:
        table.error(key, str(error))
        return None


def _check_names(rules: tuple[Rule, ...], document: Document) -> None:
    """A rule is known by its name in Squid's log."""
    seen: dict[str, int] = {}
    for number, rule in enumerate(rules):
        if rule.name in seen:
            document.error(("rule", number, "name"), f"two rules are named '{rule.name}', also line {seen[rule.name]}")
        seen.setdefault(rule.name, rule.line)


def _read_expectation(table: Table, zone: str, catalogue: Catalogue) -> Expectation:
    """Reads an `[[expect]]`; a time without an offset is in the zone of the rules' schedules."""
    circumstances = Circumstances(
        client=_read_client(table),
        user=table.text("user") or None,
        method=table.text("method").upper() or None,
        user_agent=table.text("user_agent") or None,
        content_type=table.text("content_type") or None,
        sni=table.text("sni") or None,
    )
    expectation = Expectation(
        url=table.text("url", required=True),
        circumstances=circumstances,
        action=table.choice("action", ACTIONS, ACTIONS[0]) if table.has("action") else None,
        service=table.text("service") if table.has("service") else None,
        at=_read_instant("at", table, zone),
    )
    if expectation.action is None and expectation.service is None:
        table.document.error(table.where, "an expectation says which 'action' or which 'service' it expects")
    if expectation.service and expectation.service not in catalogue.services:
        suggestion = suggest(expectation.service, catalogue.services)
        table.error("service", f"unknown service '{expectation.service}'", expectation.service, suggestion)
    table.finish()
    return expectation


def _read_client(table: Table) -> str | None:
    text = table.text("client")
    address = normalise_address(text) if text else None
    if text and address is None:
        table.error("client", f"'{text}' is no IP address", text)
    return address
