"""Which modules the presets name, and the rule that each of them falls under. Data only."""

from __future__ import annotations

_BY_RULE: dict[str, str] = {
    "process.start": """
        subprocess pty pexpect ptyprocess sh plumbum fabric invoke commands popen2 posix nt _posixsubprocess
        asyncio.subprocess webbrowser""",
    "network.access": """
        socket _socket ssl _ssl socketserver http.client http.server httplib urllib.request urllib2 urllib3 requests
        requests_html grequests httpx aiohttp httplib2 pycurl treq tornado twisted ftplib smtplib smtpd aiosmtplib
        poplib imaplib nntplib telnetlib telnetlib3 xmlrpc asyncore asynchat paramiko asyncssh scp pysftp websocket
        websockets
        socketio engineio scapy dns dnslib whois nmap shodan impacket pcapy pyshark dpkt boto3 botocore aiobotocore s3fs
        gcsfs google.cloud azure redis aioredis pymongo motor psycopg2 psycopg asyncpg pymysql MySQLdb aiomysql kafka
        pika grpc zmq nats paho stomp celery ldap3 hvac consul etcd3 docker kubernetes tweepy praw telebot telegram
        aiogram
        discord slack_sdk twilio sendgrid yagmail mechanize selenium playwright pyppeteer scrapy cloudscraper socks stem
        multiprocessing.connection logging.handlers.SocketHandler pyngrok bluetooth serial usb wakeonlan miniupnpc
        netmiko napalm pysnmp sipsimple aioquic h2 speedtest youtube_dl yt_dlp openai anthropic""",
    "memory.raw": "ctypes _ctypes cffi _cffi_backend cppyy numpy.ctypeslib pymem keystone unicorn",
    "code.dynamic": """
        code codeop runpy marshal imp zipimport pdb bdb _imp _frozen_importlib _frozen_importlib_external
        importlib.machinery importlib.abc pyximport""",
    "escape.gadget": "_testcapi _testinternalcapi _xxsubinterpreters _interpreters _opcode forbiddenfruit",
    "process.control": "winreg _winreg _winapi win32api win32con win32gui win32process win32service wmi prctl seccomp",
    "host.inspect": """
        pwd grp spwd crypt nis pynput keyboard mouse pyautogui pyperclip mss pyscreenshot pyaudio sounddevice
        utmp browser_cookie3 keyring win32clipboard GPUtil pyudev dbus""",
}

RULE_OF_MODULE: dict[str, str] = {name: rule for rule, names in _BY_RULE.items() for name in names.split()}
"""Module -> rule id. A submodule falls under the nearest name above it."""

STRICT_IMPORTS = frozenset(
    """
    __future__ abc array base64 binascii bisect calendar cmath collections copy dataclasses datetime decimal difflib
    enum fractions functools hashlib heapq html itertools json math numbers operator pprint random re statistics string
    textwrap time typing unicodedata uuid zlib zoneinfo""".split()
)
"""What `strict` lets in: modules whose public functions touch neither files, processes nor the interpreter."""

STRICT_HIDDEN = frozenset(
    """
    functools.update_wrapper operator.attrgetter operator.methodcaller string.Formatter typing.get_type_hints
    typing.ForwardRef dataclasses.make_dataclass enum.EnumMeta enum.EnumType uuid.getnode re.Scanner hashlib.file_digest
    json.load json.dump zoneinfo.reset_tzpath zoneinfo.TZPATH base64.main calendar.main uuid.main
    enum.global_enum enum.global_enum_repr enum.global_flag_repr enum.global_str copy.dispatch_table
    time.clock_settime time.clock_settime_ns time.tzset calendar.setfirstweekday calendar.c calendar.different_locale
    calendar.LocaleTextCalendar calendar.LocaleHTMLCalendar typing.clear_overloads""".split()
)
"""Members of allowed modules that evaluate strings, read files, reach attributes by name or change the state of the
whole process; refused in `strict`."""

STRICT_BUILTINS_DENIED = frozenset(
    """
    open eval exec compile __import__ globals locals vars dir help copyright credits license memoryview
    __build_class__ __loader__ __spec__ setattr delattr exit quit""".split()
)
STANDARD_BUILTINS_DENIED = frozenset("eval exec compile breakpoint".split())
