# One image for everything of ours: Airflow's components, MLflow, the gateway, the bentos, the tasks.
FROM python:3.12.12-slim-bookworm

# git keeps the versions of the training data; libgomp is LightGBM's.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git libgomp1 \
 && rm -rf /var/lib/apt/lists/*

# The number that Postgres's image gives its own user, so that both read the secrets and nobody else does.
RUN groupadd --gid 999 perennial \
 && useradd --uid 999 --gid 999 --create-home perennial \
 && install --directory --owner=perennial --group=perennial --mode=0700 /run/perennial/secrets /var/lib/perennial

WORKDIR /opt/perennial
ENV PATH=/opt/perennial/.venv/bin:$PATH PYTHONUNBUFFERED=1

COPY requirements.txt ./
# As in the Makefile: pip brings the lock's own uv, which installs the rest.
RUN python -m venv .venv \
 && sed -n '/^uv==/,/[^\]$/p' requirements.txt \
  | .venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /dev/stdin \
 && .venv/bin/uv pip install --no-cache --compile-bytecode --require-hashes --python .venv/bin/python -r requirements.txt

COPY . .
RUN .venv/bin/uv pip install --no-cache --no-deps --no-build-isolation --python .venv/bin/python -e . \
 && .venv/bin/python -m compileall -q include

USER perennial
CMD ["perennial", "--help"]
