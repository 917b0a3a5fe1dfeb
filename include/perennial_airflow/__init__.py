"""What Airflow needs of Perennial: Dag factory parts, assets, callbacks. The only code that knows both sides."""
