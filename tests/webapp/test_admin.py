"""The admin: shows what a stranger's code left without letting it act, and lets nobody in who may not."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.files.base import ContentFile
from django.urls import reverse
from django.utils import timezone

from hotcell.django import services
from hotcell.django.admin_dashboard import percentile
from hotcell.django.admin_quotas import _MESSAGES
from hotcell.django.executors import executors
from hotcell.django.models import CodeExecution, ExecutionArtifact, ExecutionQuota, QuotaUse, Window, sha256_of
from hotcell.django.quotas import start_of

pytestmark = pytest.mark.django_db

SCRIPT = "<script>alert(1)</script>"
LIST = "admin:hotcell_codeexecution_changelist"
DASHBOARD = "admin:hotcell_codeexecution_dashboard"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


class Page(HTMLParser):
    """What a browser would make of it: elements with their attributes, and the text between them."""

    def __init__(self, response):
        super().__init__()
        assert response.status_code == 200, response
        self.elements, self.text = [], ""
        self.source = response.rendered_content if hasattr(response, "rendered_content") else response.content.decode()
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def is_harmless(self):
        """No script but the admin's own files, nothing that acts by itself, no inline style that the policy forbids."""
        for tag, attributes in self.elements:
            assert tag != "script" or attributes.get("src", "").startswith(("/static/admin/", "/admin/jsi18n/")), (
                attributes
            )
            assert tag not in ("object", "embed", "base", "foreignobject"), tag
            assert not [name for name in attributes if name.startswith("on") or name == "style"], attributes
            assert not attributes.get("href", "").strip().lower().startswith(("javascript:", "data:")), attributes
            assert tag != "iframe" or attributes["sandbox"] == "", attributes
        return True


def make(code="1 + 1", status="ok", **fields):
    now = timezone.now()
    fields = {"finished": now, "code_sha256": sha256_of(code), "created": now, **fields}
    execution = CodeExecution(code=code, status=status, **fields)
    execution.save()
    return execution


def running():
    now = timezone.now()
    return make(status="running", finished=None, started=now, expires=now + timedelta(hours=1))


def detail(execution):
    return reverse("admin:hotcell_codeexecution_change", args=[execution.pk])


def download(execution, artifact):
    return reverse("admin:hotcell_codeexecution_artifact", args=[execution.pk, artifact.pk])


def keep(execution, name="a.txt", content=b"hello"):
    row = ExecutionArtifact(execution=execution, name=name, size=len(content), sha256="0", media_type="text/html")
    row.file.save("a", ContentFile(content), save=False)
    row.save()
    return row


def shows(*forms):
    return [{"data": form, "active": []} for form in forms]


@pytest.fixture
def staff(client):
    """A client of a staff user with the permissions given."""

    def log_in(*permissions):
        user = User.objects.create_user("operator", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def hostile():
    markup = f'"></pre></iframe>{SCRIPT}<img src=x onerror=alert(1)>\x1b[31m\u202e'
    user = User.objects.create_user(f"u{SCRIPT}")
    entry = {"rule": markup, "severity": "error", "line": 1, "column": 1, "message": markup, "fix": markup}
    execution = make(
        code=f"x = '{markup}'\r\ny\n",
        status="rejected",
        user=user,
        reason=markup,
        stdout=markup,
        stderr=markup,
        value={markup: markup},
        value_repr=markup,
        error={"type": markup, "message": markup, "traceback": markup, "line": 2},
        violations=[entry, {**entry, "line": 99}],
        violation_count=2,
        rules=f" {SCRIPT} ",
        notes=[markup],
        redactions=[{"kind": markup, "where": markup, "count": 2}],
        context={markup: markup},
        metadata={"m": markup},
        request_id=SCRIPT,
        sandbox=SCRIPT,
        isolation="<b>",
        language="<script>",
        timings={"run_seconds": SCRIPT, "syntax_seconds": 0.5},
        config={"timeout_seconds": SCRIPT, "memory_bytes": markup},
        wall_seconds=0.5,
        displays=shows(
            {"text/html": f"</iframe>{SCRIPT}", "text/plain": markup},
            {'image/svg+xml"><script>': SCRIPT},
            {"image/svg+xml": f"<svg xmlns='http://www.w3.org/2000/svg'>{SCRIPT}</svg>"},
            {"image/png": 'x" onerror="alert(1)'},
            {"image/png": PNG},
            {"application/json": {"a": SCRIPT}},
            {"application/javascript": "alert(1)"},
            {"text/html": [SCRIPT]},
        ),
    )
    keep(execution, name=f'd/a"\r\nX: {SCRIPT[:-9]}.html')
    return execution


# What the code left cannot act


def test_hostile_data_on_the_detail_page_is_only_text(admin_client, hostile):
    response = admin_client.get(detail(hostile))
    page = Page(response)
    assert page.is_harmless()
    assert SCRIPT in page.text and "onerror=alert(1)" in page.text
    assert "\x1b" not in page.source and "\u202e" not in page.source
    assert "\\x1b[31m" in page.source and "\\u202e" in page.source


def test_hostile_html_is_shown_in_a_sandboxed_frame_that_loads_nothing(admin_client, hostile):
    page = Page(admin_client.get(detail(hostile)))
    (frame,) = page.all("iframe")
    assert frame["sandbox"] == "" and SCRIPT in frame["srcdoc"] and "src" not in frame
    assert frame["srcdoc"].index("default-src 'none'") < frame["srcdoc"].index(SCRIPT)


def test_images_are_shown_in_img_alone_and_no_other_type_is_believed(admin_client, hostile):
    page = Page(admin_client.get(detail(hostile)))
    sources = [image["src"] for image in page.all("img")]
    assert [source.partition(",")[0] for source in sources] == [
        "data:image/svg+xml;base64",
        "data:image/png;base64",
    ]
    assert sources[1].endswith(PNG)
    assert "application/javascript" in page.text and 'image/svg+xml"><script>' in page.text


def test_the_detail_page_has_a_policy_that_forbids_inline_scripts(admin_client, hostile):
    policy = admin_client.get(detail(hostile))["Content-Security-Policy"]
    assert "script-src 'self';" in policy and "default-src 'self'" in policy and "object-src 'none'" in policy


def test_inline_styles_are_allowed_only_beside_a_frame(admin_client, hostile):
    assert "'unsafe-inline'" in admin_client.get(detail(hostile))["Content-Security-Policy"]
    for url in (detail(make()), reverse(LIST), reverse(DASHBOARD)):
        assert "'unsafe-inline'" not in admin_client.get(url)["Content-Security-Policy"]


def test_static_files_from_another_host_are_allowed(admin_client, settings):
    backend = "django.contrib.staticfiles.storage.StaticFilesStorage"
    elsewhere = {"BACKEND": backend, "OPTIONS": {"base_url": "https://files.example.com/static/"}}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": elsewhere}
    policy = admin_client.get(detail(make()))["Content-Security-Policy"]
    assert "script-src 'self' https://files.example.com;" in policy


@pytest.mark.parametrize("where", [LIST, DASHBOARD])
def test_hostile_data_in_the_list_and_on_the_dashboard_is_only_text(admin_client, hostile, where):
    make(code=SCRIPT, user=hostile.user, cpu_seconds=3, wall_seconds=2)
    page = Page(admin_client.get(reverse(where)))
    assert page.is_harmless()
    assert SCRIPT in page.text


def test_an_artifact_is_downloaded_and_never_shown(admin_client, hostile):
    response = admin_client.get(download(hostile, hostile.artifacts.get()))
    assert b"".join(response.streaming_content) == b"hello"
    response.close()
    assert response["Content-Disposition"].startswith("attachment; filename*=")
    assert "\n" not in response["Content-Disposition"]
    assert response["Content-Type"] == "application/octet-stream"
    assert response["X-Content-Type-Options"] == "nosniff"


def test_an_artifact_of_another_execution_is_not_found(admin_client, hostile):
    assert admin_client.get(download(make(), hostile.artifacts.get())).status_code == 404


def test_an_artifact_whose_file_is_gone_is_not_found(admin_client, hostile):
    row = hostile.artifacts.get()
    row.file.storage.delete(row.file.name)
    assert admin_client.get(download(hostile, row)).status_code == 404


# Who may do what


def test_staff_without_permission_is_refused_everywhere(staff, hostile):
    client, artifact = staff(), hostile.artifacts.get()
    for url in (reverse(LIST), detail(hostile), reverse(DASHBOARD), download(hostile, artifact)):
        assert client.get(url).status_code == 403, url
    for action in ("cancel", "export", "delete_selected"):
        data = {"action": action, "_selected_action": [str(hostile.pk)]}
        assert client.post(reverse(LIST), data).status_code == 403, action
    for name in ("change", "delete", "history"):
        url = reverse(f"admin:hotcell_codeexecution_{name}", args=[hostile.pk])
        assert client.post(url, {"post": "yes"}).status_code == 403, name


def test_visitors_are_sent_to_the_login(client, hostile):
    for url in (reverse(DASHBOARD), download(hostile, hostile.artifacts.get())):
        response = client.get(url)
        assert response.status_code == 302 and "/login/" in response["Location"]


def test_nobody_can_add_or_change_a_row(admin_client):
    execution = make()
    assert admin_client.get(reverse("admin:hotcell_codeexecution_add")).status_code == 403
    assert admin_client.post(detail(execution), {"status": "failed", "code": "2"}).status_code == 403
    execution.refresh_from_db()
    assert (execution.status, execution.code) == ("ok", "1 + 1")
    page = Page(admin_client.get(detail(execution)))
    assert not [item for item in page.all("input") if item.get("type") == "submit"]


def test_who_may_view_can_neither_cancel_nor_delete(staff):
    execution = running()
    client = staff("view_codeexecution")
    for action in ("cancel", "delete_selected"):
        client.post(reverse(LIST), {"action": action, "_selected_action": [str(execution.pk)], "post": "yes"})
    execution.refresh_from_db()
    assert not execution.cancel_requested
    assert "cancel" not in [item.get("value") for item in Page(client.get(reverse(LIST))).all("option")]


def test_who_may_cancel_ends_what_is_open_and_leaves_the_rest(staff):
    client = staff("view_codeexecution", "cancel_execution")
    executions = [running(), make(status="queued", finished=None), make()]
    keys = [str(execution.pk) for execution in executions]
    response = client.post(reverse(LIST), {"action": "cancel", "_selected_action": keys}, follow=True)
    for execution in executions:
        execution.refresh_from_db()
    assert executions[0].cancel_requested
    assert [execution.status for execution in executions] == ["running", "cancelled", "ok"]
    assert "2 executions are being cancelled." in Page(response).text


def test_an_open_execution_cannot_be_deleted(admin_client):
    execution, over = running(), make()
    assert admin_client.post(reverse("admin:hotcell_codeexecution_delete", args=[execution.pk])).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [str(execution.pk), str(over.pk)], "post": "yes"}
    assert admin_client.post(reverse(LIST), data).status_code == 403
    admin_client.post(reverse(LIST), {**data, "_selected_action": [str(over.pk)]})
    assert list(CodeExecution.objects.all()) == [execution]


def test_a_deleted_execution_leaves_no_file(admin_client, hostile, django_capture_on_commit_callbacks):
    file = hostile.artifacts.get().file
    with django_capture_on_commit_callbacks(execute=True):
        url = reverse("admin:hotcell_codeexecution_delete", args=[hostile.pk])
        admin_client.post(url, {"post": "yes"})
    assert not CodeExecution.objects.exists() and not file.storage.exists(file.name)


def test_the_export_is_one_json_object_a_line(admin_client, hostile):
    make()
    keys = [str(key) for key in CodeExecution.objects.values_list("pk", flat=True)]
    response = admin_client.post(reverse(LIST), {"action": "export", "_selected_action": keys})
    rows = [json.loads(line) for line in b"".join(response.streaming_content).decode().splitlines()]
    assert {row["id"] for row in rows} == set(keys)
    assert {row["stdout"] for row in rows} == {"", hostile.stdout}
    assert response["Content-Disposition"].startswith("attachment")


# What is seen


def test_a_real_execution_shows_its_output_stages_and_use(admin_client):
    execution = services.execute("open('a.txt', 'w').write('hi')\nprint('seen')\n[1, 2]", artifacts=["*.txt"])
    page = Page(admin_client.get(detail(execution)))
    assert "seen" in page.text and "[1, 2]" in page.text and "a.txt" in page.text
    assert "acquire" in page.text and "512.0" in page.text.replace("\xa0", " ")
    assert "local, namespace" in page.text or "local, process" in page.text
    assert "local" in Page(admin_client.get(reverse(DASHBOARD))).text
    executors.close()


def test_the_offending_line_is_marked_and_its_fix_stands_beside_it(admin_client):
    entry = {"rule": "process.start", "severity": "error", "line": 2, "column": 1, "message": "No.", "fix": "Do not."}
    page = Page(admin_client.get(detail(make(code="a\nb\x0cc\nd", status="rejected", violations=[entry]))))
    rows = [attributes.get("class") for attributes in page.all("tr")]
    assert rows[-3:] == [None, "is-marked", None]
    assert page.text.index("b\\x0cc") < page.text.index("process.start") < page.text.index("Do not.")


def test_a_huge_output_is_cut_for_the_page(admin_client):
    page = Page(admin_client.get(detail(make(stdout="x" * 600_000))))
    assert 500_000 <= page.text.count("x") < 510_000 and "…" in page.text


def test_the_list_asks_a_constant_number_of_questions(admin_client, django_assert_max_num_queries):
    for number in range(30):
        make(code=f"x = {number}", user=User.objects.create_user(f"user{number}"), stdout="x" * 1000)
    with django_assert_max_num_queries(9) as captured:
        admin_client.get(reverse(LIST))
    assert not [query for query in captured.captured_queries if '"stdout"' in query["sql"]]


def test_the_dashboard_asks_a_constant_number_of_questions(admin_client, django_assert_max_num_queries):
    for number in range(30):
        user = User.objects.create_user(f"user{number}")
        make(code=f"x = {number}", user=user, wall_seconds=number, cpu_seconds=number, timings={"run_seconds": 1})
    with django_assert_max_num_queries(9):
        page = Page(admin_client.get(reverse(DASHBOARD)))
    assert "user29" in page.text and "x = 29" in page.text and "user3 " not in page.text


def test_the_dashboard_of_an_empty_history_says_so(admin_client):
    assert "Nothing was run." in Page(admin_client.get(reverse(DASHBOARD))).text


def test_the_list_leads_to_the_dashboard(admin_client):
    assert reverse(DASHBOARD) in [link.get("href") for link in Page(admin_client.get(reverse(LIST))).all("a")]


def test_an_execution_is_found_by_code_id_request_and_user(admin_client):
    wanted = make(code="wanted", request_id="r-1", user=User.objects.create_user("zoe"))
    make(code="other")
    for term in (wanted.code_sha256[:12], wanted.code_sha256[:32], wanted.pk, wanted.pk.hex, "r-1", "zo"):
        found = admin_client.get(reverse(LIST), {"q": str(term)}).context["cl"].result_list
        assert [item.pk for item in found] == [wanted.pk], term


def test_the_filters_narrow_the_list(admin_client):
    make(sandbox="local", isolation="namespace", status="error")
    make(sandbox="restricted", isolation="none", language="bash")
    for name, value in {"sandbox": "local", "isolation": "none", "language": "bash", "status__exact": "error"}.items():
        assert len(admin_client.get(reverse(LIST), {name: value}).context["cl"].result_list) == 1, name


def test_a_percentile_is_one_of_the_values():
    assert (percentile([1, 2, 3, 4], 0.5), percentile([1, 2, 3, 4], 0.95), percentile([7], 0.5)) == (2, 4, 7)


# Quotas


def test_a_quota_shows_its_use_beside_the_limit(admin_client):
    user, now = User.objects.create_user("zoe"), timezone.now()
    ExecutionQuota.objects.create(user=user, window="month", executions=12_345_678)
    ExecutionQuota.objects.create(window="day", cpu_seconds=60)
    QuotaUse.objects.create(user=user, month_start=start_of(Window.MONTH, now), month_executions=7)
    text = Page(admin_client.get(reverse("admin:hotcell_executionquota_changelist"))).text
    assert "7 / 12345678" in text and "everybody" in text and "60" in text


def test_every_constraint_of_a_quota_has_words(admin_client):
    user, group = User.objects.create_user("zoe"), Group.objects.create(name="g")
    for subject in ({"user": user}, {"group": group}, {}):
        ExecutionQuota.objects.create(window="day", executions=1, **subject)
    wrong = {
        "hotcell_quota_of_one_subject": {"user": user.pk, "group": group.pk, "window": "hour"},
        "hotcell_quota_at_once_counts": {"window": "at_once", "cpu_seconds": 1},
        "hotcell_quota_is_positive": {"window": "hour", "wall_seconds": -1},
        "hotcell_quota_of_user": {"user": user.pk, "window": "day"},
        "hotcell_quota_of_group": {"group": group.pk, "window": "day"},
        "hotcell_quota_of_everybody": {"window": "day"},
    }
    assert wrong.keys() == _MESSAGES.keys() == {constraint.name for constraint in ExecutionQuota._meta.constraints}
    for name, data in wrong.items():
        response = admin_client.post(reverse("admin:hotcell_executionquota_add"), data)
        errors = response.context["adminform"].form.non_field_errors()
        assert errors == [_MESSAGES[name]], name
    data = {"user": user.pk, "window": "hour", "executions": 5}
    assert admin_client.post(reverse("admin:hotcell_executionquota_add"), data).status_code == 302
