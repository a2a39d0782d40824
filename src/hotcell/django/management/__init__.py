"""What ``manage.py`` can do: see ``commands``."""
