"""What people see of Perennial inside Airflow's web server."""
