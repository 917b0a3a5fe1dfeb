"""The embedded stack: every service the loop needs, as processes of one machine kept by supervisord."""
