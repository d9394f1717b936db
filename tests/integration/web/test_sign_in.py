from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from todoku.projects import queries as projects
from todoku.projects.types import Role
from todoku.web import attempts

from .conftest import PASSWORD, House


def _post(client: Client, email: str, password: str, **more: str) -> tuple[int, str]:
    answer = client.post("/sign-in", {"email": email, "password": password, **more})
    return answer.status_code, answer.content.decode()


def test_a_wrong_password_and_an_unknown_person_look_the_same(house: House) -> None:
    client = Client()
    known = _post(client, house.email(Role.OWNER), "wrong password")
    unknown = _post(client, "nobody@nowhere.example", "wrong password")
    assert known[0] == unknown[0] == 422
    assert _told(known[1], house.email(Role.OWNER)) == _told(unknown[1], "nobody@nowhere.example")


def _told(page: str, email: str) -> list[str]:
    return [line.replace(email, "") for line in page.splitlines() if "csrf" not in line]


def test_guessing_is_slowed_down_for_one_account(house: House) -> None:
    client = Client()
    email = house.email(Role.OWNER)
    for _ in range(attempts.PER_ACCOUNT_AND_ADDRESS):
        assert _post(client, email, "wrong password")[0] == 422
    assert _post(client, email, PASSWORD)[0] == 429, "the right password must not be a way to go on guessing"
    assert _post(client, house.email(Role.MANAGER), PASSWORD)[0] == 302, "others still get in"


def test_the_address_is_written_as_people_write_it(house: House) -> None:
    assert _post(Client(), f" {house.email(Role.OWNER).upper()} ", PASSWORD)[0] == 302


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil.example"]
)
def test_signing_in_never_leads_elsewhere(target: str, house: House) -> None:
    answer = Client().post("/sign-in", {"email": house.email(Role.OWNER), "password": PASSWORD, "next": target})
    assert answer["Location"] == "/"


def test_signing_out_ends_it(house: House, sign_in: Callable[[str], Client]) -> None:
    client = sign_in(house.email(Role.VIEWER))
    assert client.get("/sign-out").status_code == 405
    client.post("/sign-out")
    assert client.get("/online").status_code == 302


def test_a_person_of_no_project_sees_nothing(house: House, sign_in: Callable[[str], Client]) -> None:
    from django.contrib.auth import get_user_model

    get_user_model().objects.create_user("alone@example.com", PASSWORD, "alone")
    assert sign_in("alone@example.com").get("/").status_code == 403


def test_forms_of_other_sites_are_refused(house: House, sign_in: Callable[[str], Client]) -> None:
    signed_in = sign_in(house.email(Role.OWNER))
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = signed_in.cookies
    for url in (f"/reservations/{house.reservation_id}/handled", "/sign-out", "/language", "/sign-in"):
        assert strict.post(url, {"language": "en"}).status_code == 403, url


def test_language_is_remembered_for_the_person(house: House, sign_in: Callable[[str], Client]) -> None:
    client = sign_in(house.email(Role.OWNER))
    assert 'lang="ja"' in client.get("/").content.decode()
    client.post("/language", {"language": "en", "next": "/online"})
    page = sign_in(house.email(Role.OWNER)).get("/").content.decode()
    assert '<html lang="en"' in page
    assert "Mail in" in page


def test_the_language_chosen_before_signing_in_stays(house: House) -> None:
    client = Client()
    client.post("/language", {"language": "en", "next": "/sign-in"})
    client.post("/sign-in", {"email": house.email(Role.VIEWER), "password": PASSWORD})
    assert '<html lang="en"' in client.get("/").content.decode()


def test_theme_is_remembered(house: House, sign_in: Callable[[str], Client]) -> None:
    client = sign_in(house.email(Role.OWNER))
    client.post("/theme", {"theme": "dark"})
    assert 'data-theme="dark"' in client.get("/").content.decode()
    client.post("/theme", {"theme": "<script>"})
    assert 'data-theme="auto"' in client.get("/").content.decode()


def test_a_member_of_two_projects_switches(houses: tuple[House, House], sign_in: Callable[[str], Client]) -> None:
    from todoku.projects import services

    mine, other = houses
    services.save_member(other.project_id, email=mine.email(Role.OWNER), display_name="owner", role=Role.VIEWER)
    client = sign_in(mine.email(Role.OWNER))
    client.post("/project", {"project": other.project_id})
    assert str(other.reservation_id) in client.get("/online").content.decode()
    assert client.get("/guests").status_code == 403, "the role of that project counts"
    assert len(projects.list_memberships(int(client.session["_auth_user_id"]))) == 2
