"""Journals of answers, and the prediction log they are shipped into."""
