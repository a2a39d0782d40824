"""What the commands share: one way to fail, one way to print, one way to find a user."""

from __future__ import annotations

import json
from typing import Any, cast

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from hotcell.cli.exits import Exit, UsageError
from hotcell.errors import ConfigurationError, HotcellError
from hotcell.terminal import Style, clean_line


class HotcellCommand(BaseCommand):
    """Our exceptions become one line on standard error, with the exit code that ``hotcell`` gives them."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command. Raises CommandError for all that Hotcell and the database raise."""
        try:
            return super().execute(*args, **options)
        except (UsageError, ConfigurationError) as error:
            raise CommandError(clean_line(str(error)), returncode=Exit.USAGE) from error
        except HotcellError as error:
            raise CommandError(clean_line(str(error)), returncode=Exit.FAILED) from error
        except DatabaseError as error:
            told = f"The database refused: {clean_line(str(error))} (has `manage.py migrate` been run?)"
            raise CommandError(told, returncode=Exit.FAILED) from error

    def print_page(self, text: str) -> None:
        """Text that says what it is: in a C locale, which has no ``│``, too."""
        if reconfigure := getattr(self.stdout, "reconfigure", None):
            reconfigure(errors="backslashreplace")
        self.stdout.write(text)
        self.stdout.flush()

    def print_json(self, data: object) -> None:
        """A page of JSON, in ASCII alone: whatever the code printed, JSON on a terminal stays JSON."""
        self.print_page(json.dumps(data, indent=2, allow_nan=False))

    def style_of(self, options: dict[str, Any]) -> Style:
        """Colours as Django's own options say, else where the terminal has them."""
        if options["no_color"]:
            return Style()
        return Style(coloured=True) if options["force_color"] else Style.of(cast(Any, self.stdout))


def user_named(name: str) -> User:
    """Raises CommandError when there is nobody of that name."""
    model = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(name)
    except model.DoesNotExist:
        field = model.USERNAME_FIELD
        raise CommandError(f"There is no user whose {field} is {name!r}.", returncode=Exit.USAGE) from None
