"""`medrobust study serve`: the study's server."""

import socket
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from medrobust.errors import MedrobustError

NEEDED = ("starlette", "uvicorn")
MOST_CONNECTIONS = 512


def check_packages() -> None:
    """Raise `MedrobustError` unless the packages that serve pages are installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MedrobustError(
            f"serving a study needs {' and '.join(missing)}, which is not installed: "
            "pip install 'medrobust[study]'"
        )


def check_url(url: str) -> str:
    """The address that readers use, if it is one.

    Raises:
        MedrobustError: it is something else.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
        raise MedrobustError(
            f"--url: expected an address such as https://study.example.org, found {url!r}"
        )
    return url.rstrip("/")


def serve(folder: Path, host: str, port: int, url: str) -> None:
    """Serve until interrupted.

    Addresses are not logged. Cookies travel by HTTPS only where `url` says so; then the sender's
    address is taken from the proxy on this computer.

    Raises:
        MedrobustError: a package or the study is missing, its databases can't be used, or another
            program has the port.
    """
    check_packages()
    import uvicorn

    from medrobust.study.web.app import make_app, open_room

    secure = url.startswith("https:")
    with _listen(host, port) as place:
        config = uvicorn.Config(
            make_app(open_room(folder, secure=secure)),
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=secure,
            forwarded_allow_ips="127.0.0.1",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=5,
        )
        uvicorn.Server(config).run(sockets=[place])


def check_port(host: str, port: int) -> None:
    """Raise MedrobustError where another program has the port; better before links are told."""
    _listen(host, port).close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        place = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise MedrobustError(
            f"expected to listen at {host}, port {port}, found that this can't be done "
            f"({reason}): choose another --port or --host"
        ) from error
    # asyncio does so for sockets of its own only; without it many an answer waits for 40 ms
    place.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return place
