"""SipUsers reach the overlay sealed, once; who is gone is found by comparing."""

import asyncio
import base64
import time

from chordial_node.boundary.control import (
    ListUsers,
    Refused,
    RemoveUser,
    SetUser,
    UsersAnswer,
    UserStatus,
)
from chordial_node.security.credentials import Credentials, open_credentials, resource_of_user
from chordial_operator.cluster.kinds import Ref
from chordial_operator.spec.overlay import parse_overlay
from tests.operator.specs import NAMESPACE, overlay_body, seeds_body, user_body
from tests.operator.turns.rig import Rig

REALM = "voice.example.org"
OVERLAY = ("Overlay", "voice")
ALICE = ("SipUser", "alice")
USERS = ("Users", "voice")


def running() -> Rig:
    rig = Rig(overlay_body(), seeds_body(), user_body())
    rig.settle(OVERLAY, ("BootstrapSet", "seed"), rounds=3)
    rig.run_pods()
    return rig


def sent(rig: Rig) -> list[SetUser]:
    return [question for _, question in rig.peers.asked if isinstance(question, SetUser)]


def opened(rig: Rig, question: SetUser) -> Credentials:
    _, secrets = asyncio.run(rig.context.store.open(parse_overlay(overlay_body())))
    resource = resource_of_user(question.user, question.domain)
    return open_credentials(secrets.keys, resource, question.sealed)


def source(rig: Rig, name: str = "alice") -> str:
    uid = rig.cluster.objects[Ref("SipUser", NAMESPACE, name)]["metadata"]["uid"]
    return f"{NAMESPACE}/{name}/{uid}"


def test_a_password_is_made_once_and_the_record_sent_once() -> None:
    rig = running()
    rig.settle(ALICE, rounds=3)
    (question,) = sent(rig)
    secret = rig.cluster.objects[Ref("Secret", NAMESPACE, "alice-sip")]
    password = base64.b64decode(secret["data"]["password"]).decode()
    made = opened(rig, question)
    assert (made.user, made.domain, made.source) == ("alice", REALM, source(rig))
    assert made.max_contacts == 10
    assert len(password) == 24
    assert rig.condition(*ALICE, "Ready")["status"] == "True"
    assert rig.told() == ["PasswordMade"]
    assert password not in str(rig.cluster.objects[Ref("SipUser", NAMESPACE, "alice")])


def test_a_new_password_is_sent() -> None:
    rig = running()
    rig.settle(ALICE)
    before = rig.cluster.objects[Ref("SipUser", NAMESPACE, "alice")]["status"]
    secret = rig.cluster.objects[Ref("Secret", NAMESPACE, "alice-sip")]
    secret["data"]["password"] = base64.b64encode(b"another one").decode()
    rig.settle(ALICE)
    assert len(sent(rig)) == 2
    after = rig.cluster.objects[Ref("SipUser", NAMESPACE, "alice")]["status"]
    assert before["observedSecretVersion"] != after["observedSecretVersion"]


def test_disabling_a_user_is_sent() -> None:
    rig = running()
    rig.settle(ALICE)
    rig.change("SipUser", "alice", {"state": "Disabled"})
    rig.settle(ALICE)
    assert opened(rig, sent(rig)[-1]).state == "disabled"


def test_without_a_ready_peer_it_waits_and_says_so() -> None:
    rig = running()
    rig.peers.by_name = {}
    rig.turn(*ALICE)
    told = rig.condition(*ALICE, "Ready")
    assert (told["status"], told["reason"]) == ("False", "NotStored")


def test_another_peer_is_asked_when_one_is_silent() -> None:
    rig = running()
    rig.peers.silent = ["seed-0"]
    rig.turn(*ALICE)
    assert [peer for peer, _ in rig.peers.asked] == ["seed-0", "seed-1"]
    assert rig.condition(*ALICE, "Ready")["status"] == "True"


def test_who_does_not_answer_is_told_in_words_that_stay_the_same() -> None:
    rig = running()
    rig.peers.silent = list(rig.peers.by_name)
    rig.turn(*ALICE)
    told = rig.condition(*ALICE, "Ready")["message"]
    assert told == "No peer took the record: those that were asked do not answer."


def test_a_password_that_is_no_text_is_told_without_a_byte_of_it() -> None:
    rig = running()
    rig.turn(*ALICE)
    ref = Ref("Secret", NAMESPACE, "alice-sip")
    secret = rig.cluster.objects[ref]
    value = base64.b64encode(b"hush\xff").decode()
    rig.cluster.put({**secret, "data": {**secret["data"], "password": value}})
    rig.turn(*ALICE)
    told = rig.condition(*ALICE, "CredentialsReady")
    assert (told["status"], told["reason"]) == ("False", "SecretNotFound")
    assert "no UTF-8 text" in told["message"]
    assert "0xff" not in told["message"]


def test_a_refusal_is_told() -> None:
    rig = running()
    rig.peers.answers[SetUser] = Refused("forbidden", "this overlay serves another domain")
    rig.turn(*ALICE)
    assert "another domain" in rig.condition(*ALICE, "Ready")["message"]


SECOND = "second.example.org"
TWO = ("SipUser", "alice-two")


def with_two_domains(*served: str) -> Rig:
    """Alice twice, in the first domain and in a second one."""
    rig = Rig(
        overlay_body(domains=[REALM, *served]),
        seeds_body(),
        user_body(),
        user_body("alice-two", user="alice", domain=SECOND),
    )
    rig.settle(OVERLAY, ("BootstrapSet", "seed"), rounds=3)
    rig.run_pods()
    return rig


def test_one_user_in_two_domains_is_two_users() -> None:
    rig = with_two_domains(SECOND)
    rig.settle(ALICE, TWO, rounds=3)
    assert [question.domain for question in sent(rig)] == [REALM, SECOND]
    assert opened(rig, sent(rig)[1]).domain == SECOND
    for who, domain in ((ALICE, REALM), (TWO, SECOND)):
        assert rig.condition(*who, "Ready")["status"] == "True"
        assert rig.condition(*who, "Conflict")["status"] == "False"
        status = rig.cluster.objects[Ref("SipUser", NAMESPACE, who[1])]["status"]
        assert status["address"] == f"sip:alice@{domain}"
    secret = rig.cluster.objects[Ref("Secret", NAMESPACE, "alice-two-sip")]
    told = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert (told["realm"], told["address"]) == (SECOND, f"sip:alice@{SECOND}")


def test_a_domain_that_is_not_served_is_told() -> None:
    rig = with_two_domains()
    rig.turn(*TWO)
    ready = rig.condition(*TWO, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "NotStored")
    assert f"does not serve {SECOND}: add it to its spec.domains" in ready["message"]
    assert sent(rig) == []


def test_the_first_domain_by_name_is_the_same_address_as_none() -> None:
    rig = Rig(overlay_body(), seeds_body(), user_body(), user_body("b", user="Alice", domain=REALM))
    rig.settle(OVERLAY, ("BootstrapSet", "seed"), rounds=3)
    rig.run_pods()
    rig.settle(ALICE, ("SipUser", "b"))
    assert rig.condition("SipUser", "b", "Conflict")["status"] == "True"


def test_a_stray_of_one_domain_is_removed_though_another_has_its_name() -> None:
    rig = with_two_domains(SECOND, "third.example.org")
    rig.settle(ALICE, TWO)
    users = (
        UserStatus("alice", REALM, True, source(rig), 1, 1),
        UserStatus("alice", "third.example.org", True, f"{NAMESPACE}/gone/uid-9", 2, 1),
    )
    rig.peers.answers[ListUsers] = UsersAnswer(users)
    rig.turn(*USERS)
    removed = [question for _, question in rig.peers.asked if isinstance(question, RemoveUser)]
    assert removed == [RemoveUser("alice", "third.example.org")]


def test_a_user_whose_sip_user_is_gone_is_removed() -> None:
    rig = running()
    rig.settle(ALICE)
    users = (
        UserStatus("alice", REALM, True, source(rig), 1, 1),
        UserStatus("gone", REALM, True, f"{NAMESPACE}/gone/uid-9", 2, 1),
        UserStatus("typed", REALM, False, "", 0, 1),
        UserStatus("other", REALM, False, "elsewhere/other/uid-1", 0, 1),
    )
    rig.peers.answers[ListUsers] = UsersAnswer(users)
    rig.turn(*USERS)
    removed = [question for _, question in rig.peers.asked if isinstance(question, RemoveUser)]
    assert removed == [RemoveUser("gone", REALM)]


def test_a_record_that_the_overlay_lost_is_sent_again() -> None:
    rig = running()
    rig.settle(ALICE)
    rig.turn(*USERS)  # the overlay lists nobody
    rig.settle(ALICE)
    assert len(sent(rig)) == 2


def test_what_was_told_of_a_user_that_is_gone_is_forgotten() -> None:
    rig = running()
    rig.settle(ALICE)
    users = (UserStatus("alice", REALM, True, source(rig), 2, 1),)
    rig.peers.answers[ListUsers] = UsersAnswer(users)
    rig.turn(*USERS)
    rig.turn(*ALICE)
    memory = rig.context.memory(NAMESPACE, "voice")
    assert "SipUser/alice" in memory.numbers
    rig.cluster.drop(Ref("SipUser", NAMESPACE, "alice"))
    memory.users_due = True
    rig.turn(*USERS)
    assert "SipUser/alice" not in memory.numbers


def test_contacts_come_from_the_overlay() -> None:
    rig = running()
    rig.settle(ALICE)
    users = (UserStatus("alice", REALM, True, source(rig), 2, 1),)
    rig.peers.answers[ListUsers] = UsersAnswer(users)
    rig.turn(*USERS)
    rig.turn(*ALICE)
    assert rig.condition(*ALICE, "Registered")["status"] == "True"
    assert rig.cluster.objects[Ref("SipUser", NAMESPACE, "alice")]["status"]["contacts"] == 2


def test_nothing_is_compared_while_some_peer_is_silent() -> None:
    rig = running()
    rig.peers.silent = ["seed-3"]
    rig.peers.answers[ListUsers] = UsersAnswer(
        (UserStatus("gone", REALM, True, f"{NAMESPACE}/gone/uid-9", 2, 1),)
    )
    rig.turn(*USERS)
    assert not [question for _, question in rig.peers.asked if isinstance(question, RemoveUser)]


def many(rig: Rig, number: int) -> None:
    """So many users, each with a phone that has just come."""
    names = [f"user-{each:02}" for each in range(number)]
    for name in names:
        rig.cluster.put(user_body(name))
    found = tuple(UserStatus(name, REALM, True, source(rig, name), 1, 1) for name in names)
    rig.peers.answers[ListUsers] = UsersAnswer(found)


def woken_users(rig: Rig) -> list[str]:
    found = [key.name for key in rig.woken if key.name.startswith("user-")]
    rig.woken.clear()
    return found


def test_ten_statuses_a_second_tell_who_is_registered() -> None:
    """Fleet H20: a mass restart of phones changes many at once."""
    rig = running()
    many(rig, 25)
    told = []
    for _ in range(4):
        rig.woken.clear()
        rig.turn(*USERS)
        told.append(len(woken_users(rig)))
        rig.now += 1.0
    assert told == [10, 10, 5, 0]
    assert [question for _, question in rig.peers.asked].count(ListUsers()) == 5


def test_a_deleted_user_does_not_wait_for_statuses() -> None:
    rig = running()
    many(rig, 25)
    rig.turn(*USERS)
    rig.loop.deleted(rig.cluster.objects[Ref("SipUser", NAMESPACE, "user-24")])
    rig.cluster.drop(Ref("SipUser", NAMESPACE, "user-24"))
    rig.turn(*USERS)
    removed = [question for _, question in rig.peers.asked if isinstance(question, RemoveUser)]
    assert removed == [RemoveUser("user-24", REALM)]


def test_an_operator_that_leaves_registrations_to_metrics_tells_none() -> None:
    rig = running()
    rig.context.tells_registered = False
    rig.settle(ALICE)
    rig.peers.answers[ListUsers] = UsersAnswer(
        (UserStatus("alice", REALM, True, source(rig), 2, 1),)
    )
    rig.woken.clear()
    assert rig.turn(*USERS).after == 3600.0
    rig.turn(*ALICE)
    status = rig.cluster.objects[Ref("SipUser", NAMESPACE, "alice")]["status"]
    assert "contacts" not in status
    assert "Registered" not in [each["type"] for each in status["conditions"]]


def test_a_turn_among_two_thousand_users_does_not_hold_the_others_up() -> None:
    others = [user_body(f"user-{number}", user=f"user-{number}") for number in range(2000)]
    rig = Rig(overlay_body(), seeds_body(), user_body(), *others)
    rig.settle(ALICE)
    began = time.process_time()
    rig.settle(ALICE, rounds=10)
    assert (time.process_time() - began) / 10 < 0.05
