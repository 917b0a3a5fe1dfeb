"""Shows broken model specs as this file's import error, so that they are seen and take no other model's Dags away."""

from perennial_airflow.factory import check_specs

check_specs()
