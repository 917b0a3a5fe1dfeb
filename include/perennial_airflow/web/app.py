"""The FastAPI app that Airflow's API server mounts at `/perennial`."""

from fastapi import Depends, FastAPI, HTTPException

from perennial_airflow.web.access import answer_refusal, check_access
from perennial_airflow.web.reports import router


def build_app() -> FastAPI:
    """Every route checks access; the API's own documentation, which none would check, is off."""
    app = FastAPI(
        title="Perennial",
        dependencies=[Depends(check_access)],
        exception_handlers={HTTPException: answer_refusal},
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.include_router(router)
    return app
