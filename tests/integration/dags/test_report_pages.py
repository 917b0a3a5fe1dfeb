"""Reports through a real API server: who gets in, what is served, and how."""

import json
import time
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path

import jwt
import pytest

from perennial.config.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("dags")]

BROWSER = {"Accept": "text/html,application/xhtml+xml"}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


@pytest.fixture(scope="module")
def settings(stack) -> Settings:
    settings = stack.up("api-server")
    page = settings.paths.reports / "data_docs" / "flight_delay" / "raw.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("<html><head></head><body>Expectation Validation Result</body></html>")
    drawn = settings.paths.reports / "monitoring" / "flight_delay" / "20130501T000000__20130601T000000" / "report.html"
    drawn.parent.mkdir(parents=True, exist_ok=True)
    drawn.write_text("<html><head></head><body><script>document.title = 'drawn'</script></body></html>")
    Path(settings.paths.var / "outside.txt").write_text("secret")
    return settings


@pytest.fixture(scope="module")
def token(settings) -> str:
    body = json.dumps({"username": "admin", "password": settings.secret("admin_password")}).encode()
    request = urllib.request.Request(f"{settings.airflow_api_url}/auth/token", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["access_token"]


def get(settings: Settings, path: str, **headers: str) -> tuple[int, Message, str]:
    request = urllib.request.Request(settings.airflow_api_url + path, headers=headers)
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


@pytest.mark.parametrize("path", ["/perennial/", "/perennial/reports/", "/perennial/reports/data_docs/flight_delay/raw.html"])
def test_without_a_login_a_program_gets_401_and_a_browser_the_login_page(settings, path):
    assert get(settings, path)[0] == 401
    status, headers, _ = get(settings, path, **BROWSER)
    assert status == 302
    assert headers["Location"] == f"/api/v2/auth/login?next={urllib.request.quote(path, safe='')}"


def test_a_token_that_airflow_did_not_sign_is_none(settings):
    forged = jwt.encode({"sub": "admin", "role": "ADMIN", "exp": time.time() + 60}, "x" * 64, algorithm="HS512")
    assert get(settings, "/perennial/reports/", Cookie=f"_token={forged}")[0] in {401, 403}
    assert get(settings, "/perennial/reports/", Cookie=f"_token={forged}", **BROWSER)[0] == 302


# The stack's own secret signs here: how long it is is not this test's subject.
@pytest.mark.filterwarnings("ignore:The HMAC key is")
def test_a_user_without_a_role_is_forbidden_whatever_the_query_says(settings, token):
    claims = jwt.decode(token, options={"verify_signature": False})
    header = jwt.get_unverified_header(token)
    powerless = jwt.encode(
        claims | {"sub": "nobody", "role": None}, settings.secret("jwt_secret"), algorithm=header["alg"], headers=header
    )
    assert get(settings, "/perennial/reports/?dag_id=retrain__flight_delay", Authorization=f"Bearer {powerless}")[0] == 403


@pytest.mark.parametrize("kind", ["Cookie", "Authorization"])
def test_with_a_login_reports_are_listed_and_shown(settings, token, kind):
    credential = {"Cookie": f"_token={token}"} if kind == "Cookie" else {"Authorization": f"Bearer {token}"}
    status, _, html = get(settings, "/perennial/reports/", **credential)
    assert (status, 'href="data_docs/flight_delay/raw.html"' in html) == (200, True)
    status, headers, html = get(settings, "/perennial/reports/data_docs/flight_delay/raw.html", **credential)
    assert (status, "Expectation Validation Result" in html) == (200, True)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "allow-scripts" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"].startswith("private")


def test_a_page_of_monitoring_runs_its_script_where_it_can_reach_nothing(settings, token):
    page = "monitoring/flight_delay/20130501T000000__20130601T000000/report.html"
    assert get(settings, f"/perennial/reports/{page}")[0] == 401
    _, _, html = get(settings, "/perennial/reports/?kind=monitoring", Cookie=f"_token={token}")
    assert (f'href="{page}"' in html, "2013-05-01 to 2013-06-01" in html) == (True, True)
    status, headers, html = get(settings, f"/perennial/reports/{page}", Cookie=f"_token={token}")
    assert (status, "<script>" in html) == (200, True)
    policy = headers["Content-Security-Policy"]
    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy
    assert "connect-src 'none'" in policy


@pytest.mark.parametrize(
    "path",
    [
        "reports/../../outside.txt",
        "reports/..%2foutside.txt",
        "reports/%2e%2e/outside.txt",
        "reports/%00",
        "docs",
        "openapi.json",
    ],
)
def test_nothing_else_is_served(settings, token, path):
    status, _, text = get(settings, f"/perennial/{path}", Cookie=f"_token={token}")
    assert (status, "secret" in text) == (404, False)


def test_airflow_shows_the_plugin_in_its_navigation(settings, token):
    _, _, text = get(settings, "/api/v2/plugins", Authorization=f"Bearer {token}")
    (view,) = [view for plugin in json.loads(text)["plugins"] for view in plugin["external_views"] if view["name"] == "Reports"]
    assert (view["destination"], view["href"]) == ("nav", "/perennial/reports/")
