"""Reports behind Airflow's login, who comes first in its pools, and schedules that end. Airflow scans this file in each of its
processes, so it imports next to nothing.
"""

from functools import cache
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from perennial_airflow.priority import LiveFirst
from perennial_airflow.timetables import TIMETABLES


@cache
def _build_app() -> Any:
    from perennial_airflow.web.app import build_app

    return build_app()


class WebApp:
    """The pages, built at the first request: most processes that load plugins never serve one."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await _build_app()(scope, receive, send)


class PerennialPlugin(AirflowPlugin):
    """Serves `/perennial`, puts Reports into the navigation, weighs tasks, and knows schedules with a first and a last day."""

    name = "perennial"
    fastapi_apps = [{"app": WebApp(), "url_prefix": "/perennial", "name": "Perennial"}]  # noqa: RUF012 - as Airflow reads it
    priority_weight_strategies = [LiveFirst]  # noqa: RUF012
    timetables = list(TIMETABLES.values())  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Reports",
            "href": urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/") + "/perennial/reports/",
            "destination": "nav",
            "url_route": "reports",
            "nav_top_level": True,
        }
    ]
