"""Logging in: the demo's accounts, and the one local person where there are none."""

import pytest

from gateway.people.accounts import DEMO_PASSWORD, LOGIN_LIFETIME_MS, DemoAccounts, LocalPerson
from gateway.people.permissions import ALL_SITES, Role
from tests.builders import T0


@pytest.fixture(scope="module")
def accounts() -> DemoAccounts:
    return DemoAccounts()


@pytest.mark.parametrize("role", list(Role))
def test_the_demo_has_an_account_of_each_roles_name(accounts: DemoAccounts, role: Role) -> None:
    entered = accounts.log_in(role.value, DEMO_PASSWORD, T0)
    assert entered is not None
    person, token = entered
    assert person.grants == {ALL_SITES: (role,)}
    assert set(person.name) == {"en", "zh-CN"}
    assert accounts.whose(token, T0) is person


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("operator", "wrong"),
        ("nobody", DEMO_PASSWORD),
        ("operator", ""),
        ("", ""),
        ("Operator", DEMO_PASSWORD),  # names are exact
        ("operator", DEMO_PASSWORD + " "),
    ],
)
def test_a_wrong_name_or_password_lets_nobody_in(accounts: DemoAccounts, username: str, password: str) -> None:
    assert accounts.log_in(username, password, T0) is None


def test_each_login_has_a_cookie_of_its_own_and_logging_out_ends_only_that(accounts: DemoAccounts) -> None:
    (person, first), (_, second) = (
        accounts.log_in("viewer", DEMO_PASSWORD, T0) or pytest.fail("refused") for _ in "12"
    )
    assert first != second
    assert len(first) >= 32
    accounts.log_out(first)
    assert accounts.whose(first, T0) is None
    assert accounts.whose(second, T0) is person
    accounts.log_out("never heard of")


def test_a_login_ends_by_itself(accounts: DemoAccounts) -> None:
    _, token = accounts.log_in("viewer", DEMO_PASSWORD, T0) or pytest.fail("refused")
    assert accounts.whose(token, T0 + LOGIN_LIFETIME_MS - 1) is not None
    assert accounts.whose(token, T0 + LOGIN_LIFETIME_MS) is None


@pytest.mark.parametrize("token", [None, "", "guessed"])
def test_no_cookie_is_nobody(accounts: DemoAccounts, token: str | None) -> None:
    assert accounts.whose(token, T0) is None


def test_without_accounts_whoever_is_on_this_machine_may_everything_and_no_password_helps() -> None:
    local = LocalPerson()
    person = local.whose(None, T0)
    assert person is not None
    assert set(person.grants[ALL_SITES]) == set(Role)
    assert local.log_in("operator", DEMO_PASSWORD, T0) is None
    local.log_out("x")
    assert local.whose(None, T0) is person
