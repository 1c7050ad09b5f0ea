"""Pages of a commit, and of what changed between two, at GitHub, GitLab, Bitbucket and what is like them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote, unquote

from modelkeep.code.git import without_secrets

Kind = Literal["", "github", "gitlab", "bitbucket", "bitbucket-server"]

_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}\Z")
_URL: Final = re.compile(
    r"(?P<scheme>https?|ssh|git|git\+ssh)://(?:[^/]*@)?(?P<place>[^/]*)/(?P<path>.*)\Z", re.I | re.S
)
_SHORT: Final = re.compile(r"(?:[^/@:]+@)?(?P<host>[^/@:\[\]]+):(?P<path>(?!//).*)\Z", re.S)
_HOST: Final = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)\Z")
_ALSO: Final = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
}
"""Names under which the big ones take ssh on port 443."""
_NEVER: Final = frozenset("@:\n\r\0")
"""No page's name has these; what looks like a user and a secret is among them."""
_BITBUCKET_SSH: Final = "7999"


@dataclass(frozen=True, slots=True)
class _Page:
    root: str
    path: str
    kind: Kind


def commit_url(remote: str, commit: str, *, kind: Kind = "") -> str:
    """Gives the address of a commit's page; empty where there is none or none is known.

    Args:
        remote: the address that git uses: ssh, https, with a user or a token, `host:path`. No secret of it is given on.
        commit: its id, 7 to 64 hexadecimal digits.
        kind: what the other side is; seen from the address when empty. An unknown one is taken for GitHub, whose form
            Gitea and GitLab know too; with more than two names in its path for GitLab.

    >>> commit_url("git@github.com:team/model.git", "0a1b2c3d")
    'https://github.com/team/model/commit/0a1b2c3d'
    >>> commit_url("https://oauth2:glpat-secret@gitlab.example.org:8443/a/b/c.git", "0a1b2c3d")
    'https://gitlab.example.org:8443/a/b/c/-/commit/0a1b2c3d'
    >>> commit_url("/srv/git/model.git", "0a1b2c3d")
    ''
    """
    page = _page(remote, kind)
    if page is None or not _COMMIT.match(commit):
        return ""
    if page.kind == "gitlab":
        return f"{page.root}/{page.path}/-/commit/{commit}"
    if page.kind in {"bitbucket", "bitbucket-server"}:
        return f"{page.root}/{page.path}/commits/{commit}"
    return f"{page.root}/{page.path}/commit/{commit}"


def compare_url(remote: str, a: str, b: str, *, kind: Kind = "") -> str:
    """Gives the address of the page that shows what changed from one commit to another; empty where none is known.

    Args:
        remote: see `commit_url`.
        a: the older commit.
        b: the newer commit.
        kind: see `commit_url`.

    >>> compare_url("ssh://git@bitbucket.org/team/model.git", "aaaaaaa", "bbbbbbb")
    'https://bitbucket.org/team/model/branches/compare/bbbbbbb..aaaaaaa'
    >>> compare_url("git@gitlab.com:a/b/c.git", "aaaaaaa", "bbbbbbb")
    'https://gitlab.com/a/b/c/-/compare/aaaaaaa...bbbbbbb'
    """
    page = _page(remote, kind)
    if page is None or not _COMMIT.match(a) or not _COMMIT.match(b):
        return ""
    if page.kind == "gitlab":
        return f"{page.root}/{page.path}/-/compare/{a}...{b}"
    if page.kind == "bitbucket":
        return f"{page.root}/{page.path}/branches/compare/{b}..{a}"
    if page.kind == "bitbucket-server":
        return f"{page.root}/{page.path}/compare/commits?targetBranch={a}&sourceBranch={b}"
    return f"{page.root}/{page.path}/compare/{a}...{b}"


def _page(remote: str, kind: Kind) -> _Page | None:
    place = _place(without_secrets(remote))
    if place is None:
        return None
    scheme, host, port, raw = place
    names = [unquote(name) for name in raw.split("/") if name]
    if not names or any(name in {".", ".."} or set(name) & _NEVER for name in names):
        return None
    names[-1] = names[-1].removesuffix(".git")
    if len(names) < 2 or not names[-1]:
        return None
    ssh = scheme not in {"http", "https"}
    root = f"{'http' if scheme == 'http' else 'https'}://{host}{'' if ssh or not port else ':' + port}"
    found = kind or _kind(host, port if ssh else "", names)
    if found == "bitbucket-server":
        names = _server(names)
    return _Page(root, "/".join(quote(name, safe="~-._+!,") for name in names), found)


def _place(remote: str) -> tuple[str, str, str, str] | None:
    """Scheme, host, port and path of an address that a browser could know; None for a folder."""
    if url := _URL.match(remote):
        scheme, place = url["scheme"].lower(), url["place"]
        host, _, port = place.rpartition(":") if re.search(r":\d*\Z", place) else (place, "", "")
        path = url["path"]
    elif "://" not in remote and (short := _SHORT.match(remote)) and "." in short["host"]:
        scheme, host, port, path = (
            "ssh",
            short["host"],
            "",
            short["path"],
        )  # without a dot it is a name of ~/.ssh/config
    else:
        return None
    host = _ALSO.get(host.lower(), host.lower())
    return (scheme, host, port, re.split(r"[?#]", path)[0]) if _HOST.match(host) else None


def _kind(host: str, ssh_port: str, names: list[str]) -> Kind:
    if host == "bitbucket.org":
        return "bitbucket"
    if names[0] == "scm" or (ssh_port == _BITBUCKET_SSH and len(names) == 2):
        return "bitbucket-server"
    if "gitlab" in host.split(".") or host.startswith("gitlab") or (len(names) > 2 and "github" not in host):
        return "gitlab"
    return "github"


def _server(names: list[str]) -> list[str]:
    """The path of a repository's page at Bitbucket Server; `~name` is a person's."""
    project, name = names[-2:]
    return ["users", project[1:], "repos", name] if project.startswith("~") else ["projects", project, "repos", name]
