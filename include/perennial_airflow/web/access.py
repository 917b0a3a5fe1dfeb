"""Who may see the pages: whoever may read the logs of Dags, since reports show the same rows of data."""

from typing import Annotated
from urllib.parse import quote

from airflow.api_fastapi.app import API_ROOT_PATH, get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, HTTPException, Request, status
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import RedirectResponse, Response

_INVALID_TOKEN = "Invalid JWT token"  # what Airflow says, with 403, of a cookie that it did not sign


def check_access(user: Annotated[BaseUser, Depends(get_user)]) -> None:
    """Let in who may read task logs of Dags in general.

    Airflow's own `requires_access_dag` would take a `dag_id` from the query string, so that the right to read one Dag
    would open every report.
    """
    manager: BaseAuthManager[BaseUser] = get_auth_manager()
    if not manager.is_authorized_dag(method="GET", access_entity=DagAccessEntity.TASK_LOGS, user=user):
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Forbidden")


async def answer_refusal(request: Request, error: HTTPException) -> Response:
    """Send a browser without a login to the login page, as Airflow's UI does; a program gets the plain status."""
    signed_out = error.status_code == status.HTTP_401_UNAUTHORIZED or error.detail == _INVALID_TOKEN
    if not signed_out or request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
        return await http_exception_handler(request, error)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{API_ROOT_PATH}api/v2/auth/login?next={quote(here, safe='')}", status.HTTP_302_FOUND)
