"""Complete made-up records of runs, releases and verdicts, for reports and mails."""
