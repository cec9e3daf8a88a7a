"""The rules' file: what it may say, each mistake, and changes while the server runs."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci.events import Events
from pyoci.upstream.rules import MinAge
from pyoci.upstream.rules_file import Circumstances, RulesFile, read_rules
from tests.upstream.test_rules import judge, rules_of
from tests.upstream_pages import make_upstream_file

HERE = Circumstances()
BLOCK = '[[block]]\nprojects = ["{}"]\nreason = "no"\n'


def test_an_empty_file_has_few_rules() -> None:
    """Files that can't be verified are withheld, as with any rules."""
    rules = read_rules("", HERE)
    assert rules.enforced
    assert not judge(rules, make_upstream_file()).withheld
    assert rules_of(judge(rules, make_upstream_file(hashes={}))) == ["unverifiable"]


def test_the_age_of_the_settings() -> None:
    """The file may name another one, or exceptions to it."""
    settings = Circumstances(min_age=MinAge.parse("7d"))
    for text, expected in (
        ("", "7d"),
        ('[min-age]\nage = "2w"', "2w"),
        ('[min-age]\nexcept = ["urllib3==2.5.1"]', "7d"),
    ):
        found = read_rules(text, settings).min_age
        assert found is not None
        assert found.text == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode =", "this is not TOML: "),
        ('mode = "off"', "mode: 'off' is not valid; expected enforce or report"),
        ("mode = []", r"mode: \[\] is not valid"),
        ("mode = 1" + "0" * 5000, "this is not TOML: "),
        ("colour = 1", "colour is not known; expected allow, block, contact, malware, min-age, mode"),
        ("contact = 1", "contact: 1 is not valid; expected one line"),
        ('min-age = "7d"', r"min-age: '7d' is not a table; expected \[min-age\]"),
        ("[min-age]", "min-age.age is missing; expected an age"),
        ('[min-age]\nage = "1 week"', "min-age.age: '1 week' is not an age"),
        ("[min-age]\nage = 7", "min-age.age: '7' is not an age"),
        ('[min-age]\nage = "7d"\nwithout-time = true', "min-age.without-time: True is not valid"),
        ('[min-age]\nage = "7d"\nexcept = "flask"', "min-age.except: 'flask' is not valid; expected a list"),
        (
            '[min-age]\nage = "7d"\nexcept = ["flask>2"]',
            r"min-age.except: 'flask>2' is not valid; expected the name of a project, a pattern like acme-\*",
        ),
        (
            '[min-age]\nage = "7d"\nexcept = [1]',
            "min-age.except: '' is not valid; expected the name of a project, or a pattern",
        ),
        ('[min-age]\nage = "7d"\nexempt = []', "min-age.exempt is not known; expected age, except"),
        ('block = ["flask"]', r"block\[1\]: 'flask' is not a table"),
        ('[block]\nreason = "no"', r"block: expected tables, \[\[block\]\]"),
        ('[[block]]\nreason = "no"', r"block\[1\].projects is missing"),
        ('[[block]]\nprojects = ["a"]', r"block\[1\].reason is missing"),
        ('[[block]]\nprojects = []\nreason = "no"', r"block\[1\].projects is empty"),
        (
            BLOCK.format("a") + BLOCK.format("-b"),
            r"block\[2\].projects: '-b' is not valid; expected the name of a project, or a pattern",
        ),
        (BLOCK.format("a") + 'kinds = ["egg"]', r"block\[1\].kinds: \['egg'\] is not valid"),
        (BLOCK.format("a") + "versions = []", r"block\[1\].versions is not known"),
        ('[[allow]]\nprojects = ["a"]\nreason = ""', r"allow\[1\].reason: '' is not valid"),
        ('[[allow]]\nprojects = ["a"]\nreason = "a\\nb"', r"allow\[1\].reason: 'a\\nb' is not valid"),
        ("[malware]", "malware: there is no database of malware; expected PYOCI_OSV_DUMP"),
        ("a = " + "[" * 5000, "this is not TOML: "),
    ],
)
def test_a_mistake_is_one_sentence(text: str, message: str) -> None:
    """It names the key, what it has, and what was expected."""
    with pytest.raises(ValueError, match=message) as caught:
        read_rules(text, HERE)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


def test_patterns_have_a_limit() -> None:
    """Each is compared with each project. Names are looked up, so there may be far more of them."""
    names = ", ".join(f'"evil-{number}"' for number in range(40_000))
    assert read_rules(f'[[block]]\nprojects = [{names}]\nreason = "no"', HERE).block
    patterns = ", ".join(f'"evil-{number}-*"' for number in range(2001))
    for table in (
        f'[[allow]]\nreason = "no"\nprojects = [{patterns}]',
        f'[min-age]\nage = "7d"\nexcept = [{patterns}]',
    ):
        with pytest.raises(ValueError, match="the rules have 2001 patterns; expected at most 2000"):
            read_rules(table, HERE)


def test_enforced_rules_need_the_files() -> None:
    """A report doesn't."""
    direct = Circumstances(serves_files=False)
    with pytest.raises(ValueError, match="can't be enforced on files that clients download elsewhere"):
        read_rules("", direct)
    assert not read_rules('mode = "report"', direct).enforced


class TestReload:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "rules.toml"
        path.write_text(BLOCK.format("flask"))
        return path

    @pytest.fixture
    def told(self) -> list[tuple[str, Any]]:
        return []

    @pytest.fixture
    def events(self, told: list[tuple[str, Any]]) -> Events:
        return Events(
            lambda event, **facts: told.append((event, facts.get("reason"))),
            count=lambda name, *values, **_: told.append((name, *values)),
        )

    def flask_is_blocked(self, rules: RulesFile) -> bool:
        return bool(judge(rules.current()[0], make_upstream_file()).withheld)

    def test_a_change_takes_effect(self, path: Path, events: Events, told: list[Any]) -> None:
        """The version differs from then on."""
        rules = RulesFile(path, HERE, events)
        assert self.flask_is_blocked(rules)
        before = rules.current()[1]
        path.write_text(BLOCK.format("django"))
        assert not self.flask_is_blocked(rules)
        assert rules.current()[1] != before
        assert told == [("rules read", None), ("rules", "done")]

    @pytest.mark.parametrize(
        "content",
        ["[[block]]", b"\xff", "#" * 5_000_000, "", " \n", None],
        ids=["mistake", "bytes", "long", "empty", "blank", "removed"],
    )
    def test_a_broken_file_changes_nothing(
        self, path: Path, events: Events, told: list[Any], content: str | bytes | None
    ) -> None:
        """It is logged and counted once, and the next good one takes effect. A file is empty while an editor
        writes it.
        """
        rules = RulesFile(path, HERE, events)
        before = rules.current()[1]
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        for _ in range(3):
            assert self.flask_is_blocked(rules)
        assert rules.current()[1] == before
        assert [each[0] for each in told] == ["rules not read", "rules"]
        assert told[0][1]
        assert told[1] == ("rules", "broken")
        path.write_text("# nothing is blocked any more")
        assert not self.flask_is_blocked(rules)

    def test_a_worker_that_is_forked_while_the_file_is_broken(self, path: Path, events: Events) -> None:
        """It has the rules that the others had read before, and not those of the server's start."""
        master = RulesFile(path, HERE, events)
        worker = copy.copy(master)  # as a fork copies it: what it knows is its own, open files are shared
        path.write_text(BLOCK.format("django"))
        assert not self.flask_is_blocked(worker)
        path.write_text("[[block]]")
        forked = copy.copy(master)
        assert not self.flask_is_blocked(forked)
        path.write_text(BLOCK.format("flask"))
        assert self.flask_is_blocked(forked)

    def test_a_link_that_leads_elsewhere(self, path: Path, tmp_path: Path) -> None:
        """Kubernetes changes a mounted file so."""
        (tmp_path / "link").symlink_to(path)
        rules = RulesFile(tmp_path / "link", HERE)
        (tmp_path / "other").write_text(BLOCK.format("django"))
        (tmp_path / "new").symlink_to(tmp_path / "other")
        (tmp_path / "new").rename(tmp_path / "link")
        assert not self.flask_is_blocked(rules)

    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "directory"])
    def test_what_is_no_file(self, path: Path, make: Callable[[Path], None]) -> None:
        """Nobody waits for a pipe."""
        rules = RulesFile(path, HERE)
        path.unlink()
        make(path)
        assert self.flask_is_blocked(rules)
        with pytest.raises(ValueError, match="this is no file"):
            RulesFile(path, HERE)

    def test_enforced_after_a_report_where_that_can_not_be(
        self, path: Path, events: Events, told: list[Any]
    ) -> None:
        """With PYOCI_UPSTREAM_FILES=direct such a file counts as broken."""
        path.write_text('mode = "report"')
        rules = RulesFile(path, Circumstances(serves_files=False), events)
        path.write_text("")
        assert not rules.current()[0].enforced
        assert told[0][0] == "rules not read"

    @pytest.mark.parametrize("content", ["[[block]]", None])
    def test_a_broken_file_at_the_start(self, path: Path, content: str | None) -> None:
        """There are no rules that could stay in force."""
        path.write_text(content) if content is not None else path.unlink()
        with pytest.raises((ValueError, OSError)):
            RulesFile(path, HERE)


@pytest.fixture(autouse=True)
def _no_file_is_left_open(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    yield
    assert not [each for each in recwarn if each.category is ResourceWarning]
