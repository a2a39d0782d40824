"""A small Django project for the tests; on PostgreSQL where HOTCELL_TEST_POSTGRES names the directory of its socket."""

from __future__ import annotations

import os
import tempfile

SECRET_KEY = "a key that no output may show 7f3a9c"
DEBUG = False
USE_TZ = True
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "hotcell.django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "webapp.urls"
STATIC_URL = "static/"
MEDIA_ROOT = f"{tempfile.gettempdir()}/hotcell-tests-media-{os.getpid()}"  # made when a file is kept
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
POSTGRES = os.environ.get("HOTCELL_TEST_POSTGRES")
DATABASES = {
    "default": (
        {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "HOST": POSTGRES, "USER": "postgres"}
        if POSTGRES
        else {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    )
}
HOTCELL_SANDBOXES = {"default": {"BACKEND": "hotcell.LocalSandbox", "CONFIG": {"timeout_seconds": 5}}}
