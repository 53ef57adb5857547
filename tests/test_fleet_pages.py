"""The pages of rights, names and settings are current, and leave nothing out."""

import re
from pathlib import Path

import pytest
import yaml

from chordial_operator import names
from chordial_operator.settings import Settings
from chordial_operator.status.conditions import Reason
from tests.fleet_pages import (
    ANNOTATIONS_TOLD,
    LABELS_TOLD,
    PARTS,
    ROOT,
    RULES,
    operator_page,
    options,
    pages,
    rules,
)

TEMPLATES = RULES.parents[2] / "templates"
EVENT = re.compile(r"Happening\(\s*\"(\w+)\"")


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_a_page_is_what_the_source_says(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pages()[path], "run `make docs`"


def test_every_verb_has_one_reason() -> None:
    for part in PARTS:
        for rule in rules()[part]:
            verbs = [verb for grant in rule.grants for verb in grant.verbs]
            assert len(verbs) == len(dict.fromkeys(verbs))
            assert all(grant.why.endswith(".") for grant in rule.grants)


def test_no_right_is_granted_beside_the_file() -> None:
    templates = [path.read_text(encoding="utf-8") for path in TEMPLATES.glob("*") if path.is_file()]
    assert not [text for text in templates if "apiGroups: [" in text]
    told = [text for text in templates if 'include "chordial.rules"' in text]
    assert [text.count("rules:") for text in told] == [4]
    assert list(yaml.safe_load(RULES.read_text(encoding="utf-8"))) == list(PARTS)


def test_nothing_may_be_done_with_everything_and_secrets_are_not_listed() -> None:
    for rule in (rule for part in PARTS for rule in rules()[part]):
        verbs = [verb for grant in rule.grants for verb in grant.verbs]
        assert "*" not in (*rule.api_groups, *rule.resources, *verbs)
        if "secrets" in rule.resources:
            assert not [verb for verb in ("list", "watch", "deletecollection") if verb in verbs]


def test_every_label_and_annotation_is_told() -> None:
    spelled = vars(names)
    labels = [value for name, value in spelled.items() if name.endswith("_LABEL")]
    annotations = [value for name, value in spelled.items() if name.endswith("_ANNOTATION")]
    assert [label for label in labels if label not in LABELS_TOLD] == []
    assert [each for each in annotations if each not in ANNOTATIONS_TOLD] == []


def test_every_setting_has_its_flag_and_what_it_is() -> None:
    assert len(options()) == len(Settings.__struct_fields__) + 1  # --all-namespaces is none
    assert [each.flag for each in options() if not each.told] == []
    assert "|  |\n" not in operator_page()


def test_every_reason_of_a_condition_and_every_event_is_told() -> None:
    page = (ROOT / "docs" / "how-to" / "troubleshoot.md").read_text(encoding="utf-8")
    assert [reason for reason in Reason if f"`{reason}`" not in page] == []
    sources = sorted((ROOT / "operator" / "chordial_operator").rglob("*.py"))
    told = [EVENT.findall(path.read_text(encoding="utf-8")) for path in sources]
    events = [name for found in told for name in found]
    assert "DrainStarted" in events
    assert [name for name in events if f"`{name}`" not in page] == []
