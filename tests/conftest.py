"""What holds for all tests."""

import os
import tempfile

# Importing Airflow makes a folder for its logs, in the user's home unless told otherwise. Gone when the tests end.
_airflow_home = tempfile.TemporaryDirectory(prefix="pn-airflow-home-")
os.environ["AIRFLOW_HOME"] = _airflow_home.name
