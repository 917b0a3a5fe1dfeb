"""What several tests share, by subject: stacks, Dags, data, serving, predictions, monitoring, records and pages."""
