"""The kinds of secret the output check takes out, as data: what each is called, what it is, how it looks.

A vendor's token is a ``head`` that ends in a separator (``ghp_``) and a ``body`` (a bounded regular expression). The
engine finds heads by their separator, so another kind costs nothing until its head stands in the text. Kinds without a
head are found by the module that ``by`` names.

Examples are kept in pieces, so that scanners of repositories do not take them for real.
"""

from __future__ import annotations

from dataclasses import dataclass

SECRETS_GROUP = "secrets"
PERSONAL_GROUP = "personal"

_ALNUM = "[A-Za-z0-9]"
_WORD = "[A-Za-z0-9_-]"
# Not a slug such as sk-learn-makes-it-easy: random text has a digit and a capital, or many digits.
_RANDOM = "(?=[A-Za-z_-]{0,64}+[0-9])(?:(?=[a-z0-9_-]{0,64}+[A-Z])|(?=(?:[A-Za-z_-]{0,24}+[0-9]){6}))"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of secret."""

    id: str
    """The word in ``[redacted:ID]`` and in ``Redaction.kind``."""
    sentence: str
    example: tuple[str, ...]
    """A false specimen, in pieces to be joined."""
    group: str = SECRETS_GROUP
    heads: tuple[str, ...] = ()
    """How a token begins, up to and with its first separator (``_``, ``-`` or ``.``)."""
    body: str = ""
    """What must follow the head: a regular expression with bounded repetitions."""
    by: str = "tokens"


def _token(name: str, sentence: str, heads: str, body: str, example: tuple[str, ...]) -> Kind:
    return Kind(id=name, sentence=sentence, heads=tuple(heads.split()), body=body, example=example)


_R = "a1B2c3D4e5F6g7H8i9J0"  # Twenty characters that look random enough.

TOKEN_KINDS: tuple[Kind, ...] = (
    _token("github-token", "A GitHub access token.", "ghp_ gho_ ghu_ ghs_ ghr_", f"{_ALNUM}{{36,255}}",
           ("ghp", "_", _R, _R[:16])),
    _token("github-fine-grained-token", "A fine-grained GitHub access token.", "github_", "pat_[A-Za-z0-9_]{50,255}",
           ("github", "_pat_", _R, _R, _R, _R)),
    _token("gitlab-token", "A GitLab access, deploy or runner token.", "glpat- gldt- glrt- glptt-",
           f"{_WORD}{{20,255}}",
           ("glpat", "-", _R)),
    _token("slack-token", "A Slack bot, user, app or refresh token.", "xoxb- xoxp- xoxa- xoxr- xoxs- xoxe- xapp-",
           "[0-9][A-Za-z0-9-]{20,255}", ("xoxb", "-1234567890-", _R)),
    _token("stripe-key", "A Stripe secret, restricted or webhook key.", "sk_ rk_ whsec_",
           f"(?:(?<=whsec_)[A-Za-z0-9+/=]{{32,128}}|(?<!whsec_)(?:live|test|prod)_{_ALNUM}{{16,255}})",
           ("sk", "_live_", _R)),
    _token("openai-key", "An OpenAI API key.", "sk-",
           f"(?!ant-){_RANDOM}(?:(?:proj|svcacct|admin|None)-)?{_WORD}{{20,255}}",
           ("sk", "-proj-", _R, _R)),
    _token("anthropic-key", "An Anthropic API key.", "sk-", f"ant-{_RANDOM}[a-z0-9]{{3,12}}-{_WORD}{{20,255}}",
           ("sk", "-ant-api03-", _R, _R)),
    _token("google-oauth-secret", "A Google OAuth client secret.", "GOCSPX-", f"{_WORD}{{28}}",
           ("GOCSPX", "-", _R, _R[:8])),
    _token("huggingface-token", "A Hugging Face token.", "hf_", f"{_ALNUM}{{34,64}}", ("hf", "_", _R, _R[:14])),
    _token("npm-token", "An npm access token.", "npm_", f"{_ALNUM}{{36,64}}", ("npm", "_", _R, _R[:16])),
    _token("pypi-token", "A PyPI upload token.", "pypi-", f"AgE{_WORD}{{40,1000}}", ("pypi", "-AgEI", _R, _R, _R)),
    _token("sendgrid-key", "A SendGrid API key.", "SG.", rf"{_WORD}{{22}}\.{_WORD}{{43}}",
           ("SG", ".", _R, "Zz", ".", _R, _R, "a1B")),
    _token("mailgun-key", "A Mailgun API key.", "key-", "[0-9a-f]{32}(?![0-9A-Za-z])",
           ("key", "-", "0123456789abcdef" * 2)),
    _token("shopify-token", "A Shopify access token or shared secret.", "shpat_ shpca_ shppa_ shpss_",
           "[A-Fa-f0-9]{32}", ("shpat", "_", "0123456789abcdef" * 2)),
    _token("square-token", "A Square access token or OAuth secret.", "sq0atp- sq0csp- sq0idp-", f"{_WORD}{{22,43}}",
           ("sq0atp", "-", _R, "Zz")),
    _token("digitalocean-token", "A DigitalOcean token.", "dop_ doo_ dor_", "v1_[a-f0-9]{64}",
           ("dop", "_v1_", "0123456789abcdef" * 4)),
    _token("linear-key", "A Linear API key.", "lin_", f"(?:api|oauth)_{_ALNUM}{{32,64}}", ("lin", "_api_", _R, _R)),
    _token("notion-token", "A Notion integration token.", "ntn_ secret_", f"{_RANDOM}{_ALNUM}{{40,64}}",
           ("ntn", "_", _R, _R, "a1B2c3")),
    _token("vault-token", "A HashiCorp Vault token.", "hvs. hvb. hvr.", f"{_RANDOM}{_WORD}{{24,300}}",
           ("hvs", ".", _R, "aBcD")),
    _token("age-secret-key", "An age identity.", "AGE-", "SECRET-KEY-1[0-9A-Z]{50,64}",
           ("AGE-SECRET", "-KEY-1", "Q1W2E3R4T5" * 5, "Q1W2E3R4")),
    _token("django-secret-key", "A Django SECRET_KEY made by startproject.", "django-",
           r"insecure-[A-Za-z0-9!@#$%^&*(\-_=+)]{20,100}", ("django", "-insecure-", _R, _R, _R[:10])),
    _token("docker-hub-token", "A Docker Hub access token.", "dckr_", f"(?:pat|oat)_{_WORD}{{27,64}}",
           ("dckr", "_pat_", _R, _R[:7])),
    _token("grafana-token", "A Grafana service account token.", "glsa_", "[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}",
           ("glsa", "_", _R, _R[:12], "_0123abcd")),
    _token("groq-key", "A Groq API key.", "gsk_", f"{_ALNUM}{{40,64}}", ("gsk", "_", _R, _R, _R[:12])),
    _token("xai-key", "An xAI API key.", "xai-", f"{_ALNUM}{{70,90}}", ("xai", "-", _R, _R, _R, _R)),
    _token("replicate-token", "A Replicate API token.", "r8_", f"{_ALNUM}{{37,40}}", ("r8", "_", _R, _R[:17])),
    _token("perplexity-key", "A Perplexity API key.", "pplx-", f"{_ALNUM}{{40,60}}", ("pplx", "-", _R, _R, _R[:8])),
    _token("postman-key", "A Postman API key.", "PMAK-", "[a-f0-9]{24}-[a-f0-9]{34}",
           ("PMAK", "-", "0123456789abcdef01234567-", "0123456789abcdef" * 2, "01")),
    _token("rubygems-key", "A RubyGems API key.", "rubygems_", "[a-f0-9]{48}",
           ("rubygems", "_", "0123456789abcdef" * 3)),
    _token("pulumi-token", "A Pulumi access token.", "pul-", "[a-f0-9]{40}", ("pul", "-", "0123456789" * 4)),
    _token("supabase-token", "A Supabase access token.", "sbp_", "[a-f0-9]{40}", ("sbp", "_", "0123456789" * 4)),
    _token("tailscale-key", "A Tailscale key.", "tskey-", "[a-z]{2,10}-[A-Za-z0-9]{8,24}-[A-Za-z0-9]{20,48}",
           ("tskey", "-auth-", "k1A2b3C4d5CNTRL", "-", _R)),
    _token("sentry-token", "A Sentry organisation or user token.", "sntrys_ sntryu_", f"{_WORD}{{40,500}}",
           ("sntryu", "_", "0123456789abcdef" * 4)),
)  # fmt: skip


def _other(name: str, by: str, sentence: str, *example: str, group: str = SECRETS_GROUP) -> Kind:
    return Kind(id=name, by=by, sentence=sentence, example=example, group=group)


OTHER_KINDS: tuple[Kind, ...] = (
    _other("aws-access-key", "tokens", "An AWS access key id, long-lived or temporary.",
           "AK", "IA", "Q1W2E3R4T5Y6U7I8"),
    _other("google-api-key", "tokens", "A Google API key.", "AI", "za", _R, _R[:15]),
    _other("databricks-token", "tokens", "A Databricks access token.", "da", "pi", "0123456789abcdef" * 2),
    _other("twilio-key", "tokens", "A Twilio account or API key id.", "S", "K", "0123456789abcdef" * 2),
    _other("jwt", "tokens", "A JSON Web Token.", "ey", "JhbGciOiJIUzI1NiJ9", ".ey", "JzdWIiOiIxMjM0NSJ9.", _R, _R),
    _other("telegram-token", "tokens", "A Telegram bot token.", "123456789", ":", "AA", _R, _R[:13]),
    _other("discord-token", "tokens", "A Discord bot token.", "M", _R, "abc1", ".", "Xa1b2c", ".", _R, _R[:10]),
    _other("slack-webhook", "tokens", "A Slack webhook address.",
           "https://hooks.sl", "ack.com/services/T0001/B0001/",
           _R, "wxyz"),
    _other("discord-webhook", "tokens", "A Discord webhook address.",
           "https://disc", "ord.com/api/webhooks/123456789012345678/", _R, _R),
    _other("private-key", "blocks", "A private key: PEM, OpenSSH, PGP or PuTTY, the whole block.",
           "-----BEGIN RSA PRI", "VATE KEY-----\n", _R, _R, _R, "\n-----END RSA PRI", "VATE KEY-----"),
    _other("aws-secret-key", "named", "An AWS secret access key beside its name.",
           "aws_secret_access", "_key = ", "wJalrXUtnFEMI/K7MDENG/", "bPxRfiCYzzzzzzKEY1"),
    _other("gcp-service-account", "named", "The key id of a Google service account file.",
           '"private_key', '_id": "', "0123456789abcdef" * 2, '01234567"'),
    _other("azure-storage-key", "named", "The account key of an Azure connection string.",
           "Account", "Key=", (_R * 5)[:86], "=="),
    _other("azure-sas", "named", "The signature of an Azure shared access link.",
           "?sv=2022-11-02&s", "ig=", _R, _R, "%3D"),
    _other("authorization-header", "named", "The credentials of an HTTP Authorization header.",
           "Authorization: ", "Bearer ", _R, _R),
    _other("password", "named", "A value given to a name such as password or pwd.", "pass", "word=", "hunter2!x"),
    _other("api-key", "named", "A value given to a name such as api_key, secret or token.", "api", "_key: ", _R),
    _other("high-entropy", "named", "A long random value given to a name such as signing_key.",
           "signing", "_key=", _R, "qWzXvB"),
    _other("url-password", "addresses", "The password in a URL.", "postgres://app:", "s3cr3tpw", "@db.internal/x"),
    _other("email", "addresses", "An e-mail address.", "ada", "@", "example.org", group=PERSONAL_GROUP),
    _other("phone", "numbers", "A telephone number, international or of the USA.", "+44 20 ", "7946 0958",
           group=PERSONAL_GROUP),
    _other("ssn", "numbers", "A social security number of the USA.", "123", "-45-", "6789", group=PERSONAL_GROUP),
    _other("credit-card", "numbers", "A payment card number with a valid check digit.", "4111 1111 ", "1111 1111",
           group=PERSONAL_GROUP),
    _other("iban", "numbers", "A bank account number with a valid check.", "DE89 3704 ", "0044 0532 0130 00",
           group=PERSONAL_GROUP),
)  # fmt: skip

KNOWN_SECRET = Kind(
    id="known-secret",
    sentence="A value given to the redactor as secret, also in base64, hex, URL-quoted or reversed.",
    example=("(any", " value)"),
    by="known",
)  # fmt: skip

KINDS: dict[str, Kind] = {kind.id: kind for kind in (*TOKEN_KINDS, *OTHER_KINDS)}
SECRETS = frozenset(kind.id for kind in KINDS.values() if kind.group == SECRETS_GROUP)
PERSONAL = frozenset(kind.id for kind in KINDS.values() if kind.group == PERSONAL_GROUP)
ALL_KINDS = SECRETS | PERSONAL
