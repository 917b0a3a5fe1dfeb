"""The gateway leads callers to what a bento answers, and to all of it."""

from perennial.adapters.gateway import routes
from perennial_bento import docs
from perennial_bento.app import Front, Served
from perennial_bento.model import Description
from perennial_bento.recorder import Recorder

DESCRIPTION = Description(
    model="m", version=1, features={}, feature_descriptions={}, form="original", sample_ratio=1.0, facts={}, files={}
)


async def bentoml(scope, receive, send): ...


def test_the_paths_of_a_bento_are_those_that_the_gateway_leads_to():
    served = Served(DESCRIPTION, recorder=Recorder(None, model="m", version=1, sample_ratio=1.0))
    assert set(Front(bentoml, served=served)._paths) == {f"/{path}" for path in (*routes.ENDPOINTS, *routes.FILES)}


def test_the_files_of_the_page_are_those_that_the_gateway_leads_to():
    assert set(docs.handlers("m")) - {"/docs"} == {f"/{path}" for path in routes.FILES}
