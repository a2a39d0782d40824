"""What every test of the Django app may ask for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.contrib.auth.models import User


@pytest.fixture(scope="session", autouse=True)
def _no_file_is_left() -> Iterator[None]:
    yield
    shutil.rmtree(settings.MEDIA_ROOT, ignore_errors=True)


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("ada")
