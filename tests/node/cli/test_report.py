"""A report names nobody: users and phones' addresses become marks, the same ones for the same."""

import io
import tarfile

from chordial_node.cli.report import Marks, archive


def test_users_and_addresses_become_marks_and_the_rest_stays() -> None:
    text = b'{"told": "INVITE sip:bob@chordial.test", "remote": "192.0.2.7:5060", "peer": "edge-1"}'
    redacted = Marks(b"k").redacted(text)
    assert b"bob" not in redacted
    assert b"192.0.2.7" not in redacted
    assert b"@chordial.test" in redacted
    assert b'"peer": "edge-1"' in redacted


def test_who_a_sip_user_names_becomes_a_mark_in_yaml_as_well() -> None:
    text = b"""
spec:
  displayName: Bob Miller
  domain: chordial.test
  user: bob
status:
  address: sip:bob@chordial.test
"""
    lines = Marks(b"k").redacted(text).split(b"\n")
    assert not [each for each in lines if b"bob" in each or b"Miller" in each]
    user = next(each for each in lines if b"user:" in each).removeprefix(b"  user: ")
    assert user in next(each for each in lines if b"address:" in each)
    applied = b'{"spec":{"displayName":"Bob Miller","user":"bob"}}'
    assert b"ob" not in Marks(b"k").redacted(applied).replace(b"#", b"")


def test_objects_that_are_named_after_users_have_the_users_mark() -> None:
    text = b"sipuser/bob created\n  name: bob\n  secretName: bob-sip\n  user: bob\n  name: bobby\n"
    lines = Marks(b"k", (b"bob", b"bob-sip")).redacted(text).split()
    mark = lines[-3]
    assert lines == [b"sipuser/" + mark, b"created", b"name:", mark, b"secretName:", lines[5],
                     b"user:", mark, b"name:", b"bobby"]  # fmt: skip
    assert b"bob" not in lines[5]


def test_one_name_has_one_mark_in_a_report_and_another_in_the_next() -> None:
    first, second = Marks(b"1"), Marks(b"2")
    assert first.redacted(b"sip:bob@a") == first.redacted(b"sip:bob@a")
    assert first.redacted(b"sip:bob@a") != first.redacted(b"sip:carol@a")
    assert first.redacted(b"sip:bob@a") != second.redacted(b"sip:bob@a")


def test_the_archive_holds_the_files() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive({"b": b"2", "a": b"1"}))) as tar:
        assert tar.getnames() == ["chordial-report/a", "chordial-report/b"]
        held = tar.extractfile("chordial-report/a")
        assert held is not None
        assert held.read() == b"1"
