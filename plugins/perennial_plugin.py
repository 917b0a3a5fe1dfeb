"""Reports behind Airflow's login. Airflow scans this file in each of its processes, so it imports nothing else."""

from functools import cache
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin


@cache
def _build_app() -> Any:
    from perennial_airflow.web.app import build_app

    return build_app()


class WebApp:
    """The pages, built at the first request: most processes that load plugins never serve one."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await _build_app()(scope, receive, send)


class PerennialPlugin(AirflowPlugin):
    """Serves `/perennial` and puts Reports into the navigation."""

    name = "perennial"
    fastapi_apps = [{"app": WebApp(), "url_prefix": "/perennial", "name": "Perennial"}]  # noqa: RUF012 - as Airflow reads it
    external_views = [  # noqa: RUF012
        {
            "name": "Reports",
            "href": urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/") + "/perennial/reports/",
            "destination": "nav",
            "url_route": "reports",
            "nav_top_level": True,
        }
    ]
